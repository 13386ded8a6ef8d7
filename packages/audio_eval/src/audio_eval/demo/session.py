"""A speech model whose recordings come from a browser."""

import dataclasses
from pathlib import Path

import numpy as np

from audio_eval.demo.limits import Limits, read_recording
from audio_eval.inference.speech_model import Recording, Samples, SpeechModel


@dataclasses.dataclass(frozen=True, eq=False)
class DemoSession(SpeechModel):
    """A model that reads each recording within limits, before it is decoded.

    Attributes:
        limits: Limits of one request and of what is stored.
    """

    limits: Limits = dataclasses.field(default_factory=Limits)

    def read_audio(self, recording: Recording) -> Samples:
        """Return the samples of a recording; see `read_recording`."""
        if isinstance(recording, np.ndarray):
            return super().read_audio(recording)
        return read_recording(Path(recording), self.codec.sample_rate_hz, self.limits)
