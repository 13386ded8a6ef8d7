"""Make the training audio of the embedded codec from Debian packages and this folder's own texts.

Usage: ``python prepare.py DATA``. Needs ``asterisk-core-sounds-it-g722``, ``asterisk-core-sounds-ru-g722``,
``espeak-ng``, ``flite`` and ``ffmpeg`` (all from Debian). Writes ``DATA/real/*.flac`` (CC-BY-3.0 recordings) and
``DATA/synthetic/*.flac`` (own synthesis of ``sentences.txt`` and of generated numbers and commands), 24 kHz mono.
"""

import argparse
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLE_RATE_HZ = 24_000
SOUNDS = Path("/usr/share/asterisk/sounds")
RECORDINGS = {"italian": "it_IT_m_Carlo", "russian": "ru_RU_f_IvrvoiceRU"}

# English is spoken by many voices because most users' first corpus is English; numerals alone give each other language
# its own sounds without needing a text in it.
ESPEAK_ENGLISH = ("en-us", "en-us+f3", "en-us+m3", "en-us+f5", "en-us+m7", "en-gb+m5", "en-gb-scotland+f2")
ESPEAK_OTHERS = (
    "de+f2",
    "fr+f3",
    "es+m2",
    "it+f4",
    "pt+m4",
    "nl+f1",
    "ru+m3",
    "pl+f2",
    "cmn+f3",
    "hi+m1",
    "ar+f4",
    "tr+m6",
    "fi+f3",
    "ja+f2",
    "ko+m4",
    "vi+f5",
)
FLITE_VOICES = ("slt", "rms", "kal16")

WORDS = {
    "room": "kitchen bedroom garden bathroom office garage hall",
    "number": "one two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty "
    "thirty forty fifty",
    "colour": "red blue green yellow white black purple orange brown grey",
    "thing": "door box window lamp cup apple horse bird fish book table chair bag bottle",
}
TEMPLATES = (
    "turn the {room} light on",
    "turn the {room} light off",
    "set the timer for {number} minutes",
    "open the {colour} {thing}",
    "close the {colour} {thing}",
    "go left {number} steps",
    "go right {number} meters",
    "it is {number} thirty in the evening",
    "the {colour} {thing} is in the {room}",
    "bring me {number} {colour} {thing}s",
    "play the {colour} song again",
    "wake me at {number} in the morning",
)


def commands(count: int, seed: int) -> list[str]:
    """Return `count` sentences of the limited domain of numbers, times, colours and commands."""
    draw = random.Random(seed)
    lists = {name: words.split() for name, words in WORDS.items()}
    return [
        draw.choice(TEMPLATES).format(**{name: draw.choice(words) for name, words in lists.items()})
        for _ in range(count)
    ]


def numerals(count: int, seed: int) -> list[str]:
    """Return `count` lines of numerals, which espeak-ng reads out in any language."""
    draw = random.Random(seed)
    return [", ".join(str(draw.randrange(10 ** draw.randint(1, 6))) for _ in range(4)) + "." for _ in range(count)]


def decode_recordings(name: str, out: Path) -> None:
    """Decode one speaker's G.722 prompts into a single FLAC file.

    One ffmpeg process takes them all: the codec is a plain stream, so the files can be concatenated.
    """
    stream = b"".join(path.read_bytes() for path in sorted((SOUNDS / RECORDINGS[name]).rglob("*.g722")))
    if not stream:
        raise SystemExit(
            f"expected .g722 prompts below `{SOUNDS / RECORDINGS[name]}`: install asterisk-core-sounds-*-g722"
        )
    command = ["ffmpeg", "-v", "error", "-f", "g722", "-i", "-", "-ar", str(SAMPLE_RATE_HZ), "-f", "f32le", "-"]
    raw = subprocess.run(command, input=stream, capture_output=True, check=True).stdout
    write(out, np.frombuffer(raw, np.float32))


def synthesize(command: list[str], out: Path) -> None:
    """Run a synthesiser that writes a WAV file named by its last argument, and keep the speech as 24 kHz FLAC."""
    wav = out.with_suffix(".wav")
    subprocess.run([*command, str(wav)], check=True, capture_output=True)
    samples, rate = soundfile.read(wav, dtype="float32")
    wav.unlink()
    write(out, soxr.resample(samples, rate, SAMPLE_RATE_HZ))


def write(path: Path, samples: np.ndarray) -> None:
    """Write mono `samples` so loud that their RMS is 0.07, without clipping."""
    level = 0.07 / np.sqrt(np.mean(samples**2))
    soundfile.write(path, np.clip(samples * level, -0.999, 0.999), SAMPLE_RATE_HZ)


def jobs(folder: Path) -> list[tuple[list[str], Path]]:
    """List every synthesis as (command, output file)."""
    sentences = (Path(__file__).parent / "sentences.txt").read_text().splitlines()
    listed = []
    for index, voice in enumerate(ESPEAK_ENGLISH):
        text = " \n".join(sentences + commands(30, index))
        listed.append((["espeak-ng", "-v", voice, "-s", "150", text, "-w"], folder / f"espeak_{voice}.flac"))
    for index, voice in enumerate(ESPEAK_OTHERS):
        text = " \n".join(numerals(14, index))
        listed.append((["espeak-ng", "-v", voice, "-s", "150", text, "-w"], folder / f"espeak_{voice}.flac"))
    for index, voice in enumerate(FLITE_VOICES):
        text = " \n".join(sentences + commands(60, 100 + index))
        listed.append((["flite", "-voice", voice, "-t", text, "-o"], folder / f"flite_{voice}.flac"))
    return listed


def main() -> None:
    """Make all training audio below the given folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA")
    data: Path = parser.parse_args().data
    for folder in ("real", "synthetic"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    for name in RECORDINGS:
        decode_recordings(name, data / "real" / f"{name}.flac")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: synthesize(*job), jobs(data / "synthetic")))


if __name__ == "__main__":
    main()
