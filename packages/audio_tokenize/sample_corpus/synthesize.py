"""Makes the sample corpora that audio_tokenize ships, with Debian's flite, espeak-ng and ffmpeg.

Run from anywhere, in an environment that has numpy, soundfile and soxr:

    python packages/audio_tokenize/sample_corpus/synthesize.py english multilingual parallel

It takes some minutes on two cores and gives the same bytes with the same versions of the three programs (VOICES.md).
"""

import argparse
import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from english import english_lines
from lines import Line
from opus import OpusSettings, Spoken, write_manifest, write_recording
from texts import english_sentences
from translations import multilingual_lines, parallel_lines
from voices import speak

_HERE = Path(__file__).resolve().parent
_DATA = _HERE.parent / "src" / "audio_tokenize" / "corpora" / "data"
_SEED = 20_260_216
_MOST_PER_RECORDING = 180

CORPORA = {
    "english": lambda: english_lines(english_sentences(_HERE / "english.toml", _SEED), _SEED),
    "multilingual": lambda: multilingual_lines(_HERE / "multilingual.toml"),
    "parallel": lambda: parallel_lines(_HERE / "parallel.toml"),
}


def _spoken(line: Line) -> Spoken:
    return Spoken(line.fields(), speak(line.voice, line.text, line.speed))


def _recordings(lines: list[Line]) -> list[tuple[str, list[Line]]]:
    """Group lines by recording, in the order of their ids; cuts long ones into files of nearly equal length."""
    ordered = sorted(lines, key=lambda line: (line.recording, line.id))
    files = []
    for recording, group in itertools.groupby(ordered, key=lambda line: line.recording):
        members = list(group)
        num_files = -(-len(members) // _MOST_PER_RECORDING)
        for number in range(num_files):
            first, stop = (len(members) * n // num_files for n in (number, number + 1))
            files.append((f"{recording}_{number:02d}.opus", members[first:stop]))
    return files


def synthesize(lines: list[Line], folder: Path) -> None:
    """Write `folder` anew: the recordings and `manifest.jsonl`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    manifest: list[dict] = []
    with ThreadPoolExecutor() as pool:
        for name, members in _recordings(lines):
            manifest += write_recording(folder / name, list(pool.map(_spoken, members)), OpusSettings())
            print(f"{folder.name}/{name}: {len(members)} utterances", flush=True)
    write_manifest(folder / "manifest.jsonl", manifest)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="+", choices=list(CORPORA))
    parser.add_argument("--out", type=Path, default=_DATA, help="folder of the corpora (default: the package's data)")
    arguments = parser.parse_args()
    for name in arguments.corpus:
        synthesize(list(CORPORA[name]()), arguments.out / name)


if __name__ == "__main__":
    main()
