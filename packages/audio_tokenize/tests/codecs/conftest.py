import numpy as np
import pytest


@pytest.fixture(scope="session")
def voice():
    """Makes what every stage of a codec reacts to: a buzz through two moving formants, with pauses."""

    def make(seconds: float, pitch_hz: float = 120.0) -> np.ndarray:
        time = np.arange(round(seconds * 24_000)) / 24_000
        phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 1.3 * time))) / 24_000
        samples = np.zeros_like(time)
        for harmonic in range(1, 40):
            hz = harmonic * pitch_hz
            gain = sum(
                np.exp(-(((hz - center - spread * np.sin(2 * np.pi * rate * time)) / 180) ** 2))
                for center, spread, rate in ((600, 200, 2.1), (1700, 600, 1.7))
            )
            samples += gain * np.sin(harmonic * phase)
        samples *= np.sin(2 * np.pi * 0.9 * time) > -0.6
        return (0.07 * samples / np.sqrt(np.mean(samples**2) + 1e-9)).astype(np.float32)

    return make
