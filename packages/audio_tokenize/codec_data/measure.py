"""Measure a codec on real speech that no codec of this project is trained on.

Usage: ``python measure.py [--codec embedded] [--whisper FOLDER] [--keep FOLDER]``. Prints one JSON document.

Test sets, each clip brought to an RMS of 0.07:
  libri  5 LibriVox utterances and 4 short commands of Debian's ``pocketsphinx-testdata``, with true transcripts
  ast    11 prompts of Debian's ``asterisk-core-sounds-en-g722``, word errors against what is heard in the original
  fil    6 noisy, acted clips of Debian's ``fillets-ng-data``

Needs ``pystoi``, ``pesq`` and, for word errors, ``faster-whisper`` with a CTranslate2 folder of Whisper base.
"""

import argparse
import json
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
import soxr

from audio_tokenize import AbstractCodec, load_codec

RATE_HZ = 24_000
POCKETSPHINX = Path("/usr/share/pocketsphinx/test/data")
ASTERISK = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
FILLETS = Path("/usr/share/games/fillets-ng/sound")

AUSTEN = "librivox/sense_and_sensibility_01_austen_64kb-"
LIBRI = {
    AUSTEN
    + "0870.wav": "and mister john dashwood had then leisure to consider how much there might be prudently in his "
    "power to do for them",
    AUSTEN + "0880.wav": "he was not an ill disposed young man",
    AUSTEN + "0890.wav": "unless to be rather cold hearted and rather selfish is to be ill disposed",
    AUSTEN
    + "0920.wav": "had he married a more amiable woman he might have been made still more respectable than he was",
    AUSTEN + "0930.wav": "he might even have been made amiable himself",
    "cards/001.wav": "ten of clubs",
    "cards/003.wav": "seven of clubs",
    "cards/005.wav": "eight of spades four of clubs seven of hearts",
    "goforward.raw": "go forward ten meters",
}
AST = (
    "agent-alreadyon", "auth-incorrect", "confbridge-pin-bad", "dir-instr", "pbx-invalidpark", "ss-noservice",
    "vm-forward", "vm-newuser", "vm-rec-busy", "vm-tempgreeting2", "vm-tmpexists",
)  # fmt: skip
FIL = (
    "viking1/en/d1-z-b1", "viking1/en/d1-z-p1", "viking1/en/d1-z-v1",
    "elk/en/deu-l-necital", "elk/en/deu-p-trinken0", "elk/en/deu-l-pozalsta",
)  # fmt: skip
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def load(path: Path) -> np.ndarray:
    """Read a test clip at 24 kHz and an RMS of 0.07."""
    if path.suffix == ".g722":
        command = ["ffmpeg", "-v", "error", "-f", "g722", "-i", str(path), "-ar", str(RATE_HZ), "-f", "f32le", "-"]
        samples, rate = (
            np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.float32),
            RATE_HZ,
        )
    elif path.suffix == ".raw":
        samples, rate = np.fromfile(path, "<i2").astype(np.float32) / 32768, 16_000
    else:
        samples, rate = soundfile.read(path, dtype="float32")
    samples = soxr.resample(samples, rate, RATE_HZ)
    return (samples * 0.07 / np.sqrt(np.mean(samples**2))).astype(np.float32)


def test_sets() -> dict[str, list[np.ndarray]]:
    """Load the three test sets."""
    return {
        "libri": [load(POCKETSPHINX / name) for name in LIBRI],
        "ast": [load(ASTERISK / f"{name}.g722") for name in AST],
        "fil": [load(FILLETS / f"{name}.ogg") for name in FIL],
    }


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Return natural-log powers of 100 Slaney mel bands clipped at 1e-4: Hann 1024, hop 240, centred."""
    slaney = lambda mel: np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))  # noqa: E731
    edges = slaney(np.linspace(0, 15 + 27 * np.log(12) / np.log(6.4), 102))
    bins = np.linspace(0, RATE_HZ / 2, 513)[:, None]
    triangles = np.minimum((bins - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - bins) / np.diff(edges)[1:])
    filters = np.maximum(triangles, 0) * 2 / (edges[2:] - edges[:-2])
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, 512), 1024)[::240]
    return np.log(np.maximum(np.abs(np.fft.rfft(frames * np.hanning(1025)[:-1])) ** 2 @ filters, 1e-4))


def mel_error(original: np.ndarray, coded: np.ndarray) -> np.ndarray:
    """Return the mean |difference| in dB of each frame within 40 dB of the clip's loudest."""
    reference = log_mel(original)
    level = reference.mean(axis=1)
    active = level > np.quantile(level, 0.98) - 40 / 4.343
    return 4.343 * np.abs(reference - log_mel(coded))[active].mean(axis=1)


def words(text: str) -> list[str]:
    """Return lower-case words without punctuation, small numbers spelled out."""
    text = re.sub(r"\bmr\b\.?", "mister", text.lower())
    text = re.sub(r"\b\d+\b", lambda found: DIGITS[int(found[0])] if int(found[0]) < len(DIGITS) else found[0], text)
    return re.sub(r"[^a-z0-9' ]", " ", text).split()


def edits(reference: list[str], heard: list[str]) -> int:
    """Return the Levenshtein distance in words."""
    row = list(range(len(heard) + 1))
    for index, word in enumerate(reference, 1):
        previous, row[0] = row[0], index
        for column, other in enumerate(heard, 1):
            previous, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, previous + (word != other))
    return row[-1]


def word_errors(originals: Mapping[str, list[np.ndarray]], coded: Mapping[str, list[np.ndarray]], folder: Path) -> dict:
    """Transcribe both and return word error rates: libri against its texts, ast against the original's transcript."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)

    def hear(samples: np.ndarray) -> list[str]:
        audio = soxr.resample(samples, RATE_HZ, 16_000)
        segments, _ = model.transcribe(audio, language="en", beam_size=1, temperature=0.0, without_timestamps=True)
        return words(" ".join(segment.text for segment in segments))

    truth = [words(text) for text in LIBRI.values()]
    references = {"libri": truth, "ast": [hear(clip) for clip in originals["ast"]]}
    heard = {name: [hear(clip) for clip in coded[name]] for name in references}
    rates = {
        name: sum(map(edits, references[name], heard[name])) / sum(map(len, references[name])) for name in references
    }
    rates["libri_original"] = sum(map(edits, truth, map(hear, originals["libri"]))) / sum(map(len, truth))
    return {
        **{name: round(rate, 3) for name, rate in rates.items()},
        "heard": {n: [" ".join(t) for t in h] for n, h in heard.items()},
    }


def perplexities(codes: list[np.ndarray], size: int) -> list[int]:
    """Return exp(entropy) of the codes of each codebook over all clips."""
    counts = [np.bincount(column, minlength=size) / len(column) for column in np.concatenate(codes).T]
    return [round(float(np.exp(-np.sum(share[share > 0] * np.log(share[share > 0]))))) for share in counts]


def measure(
    codec: AbstractCodec, originals: Mapping[str, list[np.ndarray]]
) -> tuple[dict, dict[str, list[np.ndarray]]]:
    """Encode and decode every clip; return scores and the decoded audio."""
    from pesq import pesq
    from pystoi import stoi

    codec.decode(codec.encode(originals["libri"][0]))
    scores, decoded, every_code = {}, {}, []
    for name, clips in originals.items():
        seconds = sum(map(len, clips)) / RATE_HZ
        times = [time.process_time()]
        codes = [codec.encode(clip) for clip in clips]
        times.append(time.process_time())
        decoded[name] = [codec.decode(code)[: len(clip)] for code, clip in zip(codes, clips, strict=True)]
        times.append(time.process_time())
        every_code += codes
        pairs = list(zip(clips, decoded[name], strict=True))
        at_16 = [(soxr.resample(a, RATE_HZ, 16_000), soxr.resample(b, RATE_HZ, 16_000)) for a, b in pairs]
        scores[name] = {
            "seconds": round(seconds, 1),
            "mel_db": round(float(np.mean(np.concatenate([mel_error(a, b) for a, b in pairs]))), 3),
            "stoi": round(float(np.mean([stoi(a, b, RATE_HZ) for a, b in pairs])), 3),
            "estoi": round(float(np.mean([stoi(a, b, RATE_HZ, extended=True) for a, b in pairs])), 3),
            "pesq_wb": round(float(np.mean([pesq(16_000, a, b, "wb") for a, b in at_16])), 3),
            "encode_rtf": round((times[1] - times[0]) / seconds, 5),
            "decode_rtf": round((times[2] - times[1]) / seconds, 4),
        }
    frames = sum(map(len, every_code))
    scores["codebooks"] = {"frames": frames, "perplexity": perplexities(every_code, codec.codebook_size)}
    return scores, decoded


def main() -> None:
    """Measure the codec named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", default="embedded", help="What load_codec takes: a name or a weights file.")
    parser.add_argument("--whisper", type=Path, help="CTranslate2 folder of Whisper base, for word error rates.")
    parser.add_argument("--keep", type=Path, help="Folder to write the decoded audio to.")
    options = parser.parse_args()
    originals = test_sets()
    scores, decoded = measure(load_codec(options.codec), originals)
    if options.whisper:
        scores["wer"] = word_errors(originals, decoded, options.whisper)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        for name, clips in decoded.items():
            for index, clip in enumerate(clips):
                soundfile.write(options.keep / f"{name}_{index}.flac", clip, RATE_HZ)
    print(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
