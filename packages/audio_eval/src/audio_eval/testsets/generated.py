"""Small synthetic stand-ins for the published test sets, made of the shipped sample recordings, in the same layouts.

They test the readers and the tasks, and show the expected layout of a folder. Their scores do not measure the quality
of a model; a model trained on the sample corpus should only score intact recordings above distorted ones.
"""

import csv
import functools
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from audio_data import InputError, disk_errors, flush, sole_file_writer
from audio_tokenize import Utterance, load_audio, open_corpus, resample

_RATE_HZ = 16_000
Samples = Float32[np.ndarray, " samples"]


def write_stand_in(name: str, folder: Path, num_items: int = 20) -> None:
    """Write the stand-in for one test set.

    Args:
        name: A key of `STAND_INS`.
        folder: Folder to write, created where missing.
        num_items: Pairs, or utterances; at most about a hundred.

    Raises:
        InputError: There is no such test set, or the folder is not empty: it may be the published test set.
    """
    if name not in STAND_INS:
        raise InputError(f"`name` must be one of {', '.join(STAND_INS)}, got {name!r}")
    with sole_file_writer(folder) as was_killed, disk_errors(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"`{folder}` must be an empty folder, got one with files: remove it or choose another")
        # Written under another name until complete, so that a part is never taken for the whole.
        partial = folder.with_name(f".{folder.name}.partial")
        if was_killed and partial.exists():
            shutil.rmtree(partial)
        elif os.path.lexists(partial):
            raise InputError(f"`{partial}` is in the way and was not written by this command: move it")
        partial.mkdir()
        try:
            STAND_INS[name](partial, num_items)
            for path in (*partial.rglob("*"), partial):
                flush(path)
            partial.replace(folder)
            flush(folder.parent)
        finally:
            if partial.exists():
                shutil.rmtree(partial)


@functools.cache
def _spoken() -> tuple[Utterance, ...]:
    """Held-out sentences, one voice after the other in turn."""
    groups: dict[str, list[Utterance]] = {}
    for utterance in open_corpus("sample").select(split="heldout"):
        groups.setdefault(utterance.speaker, []).append(utterance)
    voices = [groups[name] for name in sorted(groups, key=lambda name: -len(groups[name]))]
    longest = max(len(voice) for voice in voices)
    return tuple(voice[index] for index in range(longest) for voice in voices if index < len(voice))


def _load(utterance: Utterance) -> Samples:
    samples = load_audio(utterance.audio, 24_000, utterance.start_seconds, utterance.end_seconds)
    return resample(samples, 24_000, _RATE_HZ)


def _write_wav(path: Path, samples: Samples, rate_hz: int = _RATE_HZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(samples, -1, 1), rate_hz, subtype="PCM_16")


def _write_gold(folder: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with (folder / "gold.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _swuggy(folder: Path, num_items: int) -> None:
    """Words are first halves of sentences, non-words the same reversed in time."""
    rows = []
    for number, utterance in enumerate(_spoken()[:num_items]):
        word = utterance.text.split()[0]
        samples = _load(utterance)
        samples = samples[: len(samples) // 2]
        for correct, sound, written in ((1, samples, word), (0, samples[::-1], word[::-1])):
            name = f"{number:04d}_{correct}"
            _write_wav(folder / f"{name}.wav", sound)
            phones = " ".join(written)
            rows.append(
                {
                    "id": number,
                    "filename": name,
                    "voice": utterance.speaker,
                    "frequency": number % 3,
                    "word": written,
                    "phones": phones,
                    "length": len(written),
                    "correct": correct,
                }
            )
    _write_gold(folder, rows)


def _sblimp(folder: Path, num_items: int) -> None:
    """Sentences against the same with their second half first."""
    rows = []
    for number, utterance in enumerate(_spoken()[:num_items]):
        samples, words = _load(utterance), utterance.text.split()
        half, middle = len(samples) // 2, len(words) // 2
        swapped = np.concatenate([samples[half:], samples[:half]])
        right, wrong = " ".join(words), " ".join(words[middle:] + words[:middle])
        for correct, sound, written in ((1, samples, right), (0, swapped, wrong)):
            name = f"{number:04d}_{correct}"
            _write_wav(folder / f"{name}.wav", sound)
            rows.append(
                {
                    "id": number,
                    "filename": name,
                    "voice": utterance.speaker,
                    "type": "agreement" if number % 2 else "anaphor",
                    "subtype": "swapped",
                    "transcription": written,
                    "correct": correct,
                }
            )
    _write_gold(folder, rows)


def _salmon(folder: Path, num_items: int) -> None:
    """Speech that continues in another voice, or 20 dB louder, in its second half."""
    utterances = _spoken()
    for number, utterance in enumerate(utterances[:num_items]):
        other = next(u for u in utterances[number + 1 :] + utterances[:number] if u.speaker != utterance.speaker)
        part = ("speaker_consistency", "bg_alignment")[number % 2]
        samples, half = _load(utterance), int(utterance.seconds * _RATE_HZ) // 2
        strange = _load(other)[half:] if number % 2 == 0 else np.clip(10 * samples[half:], -1, 1)
        sample = folder / part / f"sample_{number // 2}"
        _write_wav(sample.with_name(f"{sample.name}_0.wav"), samples)
        _write_wav(sample.with_name(f"{sample.name}_1.wav"), np.concatenate([samples[:half], strange]))


def _story_cloze(folder: Path, num_items: int) -> None:
    """Two sentences of a voice, against the same with the second one reversed in time and order of words."""
    utterances = _spoken()
    for number, utterance in enumerate(utterances[:num_items]):
        following = next(u for u in utterances[number + 1 :] + utterances[:number] if u.speaker == utterance.speaker)
        ending = _load(following)
        beginning = _load(utterance)
        texts = {"correct": following.text, "incorrect": " ".join(reversed(following.text.split()))}
        for kind, sound in (("correct", ending), ("incorrect", ending[::-1])):
            _write_wav(folder / f"{number}_{kind}.wav", np.concatenate([beginning, sound]))
            (folder / f"{number}_{kind}.txt").write_text(f"{utterance.text} {texts[kind]}\n", encoding="utf-8")


def _librispeech(folder: Path, num_items: int) -> None:
    """Held-out sentences as LibriSpeech has them: SPEAKER/CHAPTER/*.flac and a .trans.txt, upper-case."""
    _libri_split(folder / "dev-clean", [u for u in open_corpus("sample") if u.split == "train"][:num_items])
    _libri_split(folder / "test-clean", _spoken()[:num_items])


def _libri_split(folder: Path, utterances: Iterable[Utterance]) -> None:
    speakers: dict[str, int] = {}
    lines: dict[Path, list[str]] = {}
    for utterance in utterances:
        speaker = speakers.setdefault(utterance.speaker, 1_000 + len(speakers))
        chapter = folder / str(speaker) / "1"
        chapter.mkdir(parents=True, exist_ok=True)
        transcripts = lines.setdefault(chapter / f"{speaker}-1.trans.txt", [])
        name = f"{speaker}-1-{len(transcripts):04d}"
        soundfile.write(chapter / f"{name}.flac", _load(utterance), _RATE_HZ)
        transcripts.append(f"{name} {utterance.text.upper()}")
    for path, written in lines.items():
        path.write_text("\n".join(written) + "\n", encoding="utf-8")


def _seed_tts(folder: Path, num_items: int) -> None:
    """`meta.lst`: each sentence is to be said in the voice of another sentence of the same speaker."""
    utterances, lines = _spoken(), []
    for number, utterance in enumerate(utterances[:num_items]):
        prompt = next(u for u in utterances[number + 1 :] + utterances[:number] if u.speaker == utterance.speaker)
        sound, wanted = f"prompt-wavs/prompt_{number:03d}.wav", f"wavs/item_{number:03d}.wav"
        _write_wav(folder / sound, _load(prompt))
        _write_wav(folder / wanted, _load(utterance))
        lines.append(f"item_{number:03d}|{prompt.text}|{sound}|{utterance.text}|{wanted}")
    (folder / "meta.lst").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _covost2(folder: Path, num_items: int) -> None:
    """German sentences with their English translation, spoken, as parquet tables."""
    import pyarrow
    import pyarrow.parquet

    corpus = [u for u in open_corpus("sample-parallel") if u.language == "de" and "target_text" in u.extra]
    # Half of them are shots, so that even a small stand-in has some.
    half = len(corpus) // 2
    folder = folder / "de_en"
    folder.mkdir(parents=True, exist_ok=True)
    for split, utterances in (("validation", corpus[:half]), ("test", corpus[half : half + num_items])):
        rows = []
        for utterance in utterances:
            path = folder / f"{utterance.id}.wav"
            _write_wav(path, _load(utterance))
            audio = {"bytes": path.read_bytes(), "path": path.name}
            path.unlink()
            fields = {"client_id": utterance.speaker, "file": path.name, "audio": audio, "id": utterance.id}
            rows.append({**fields, "sentence": utterance.text, "translation": utterance.extra["target_text"]})
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{split}-00000-of-00001.parquet")


STAND_INS: Mapping[str, Callable[[Path, int], None]] = {
    "swuggy": _swuggy,
    "sblimp": _sblimp,
    "salmon": _salmon,
    "story_cloze": _story_cloze,
    "librispeech": _librispeech,
    "seed_tts": _seed_tts,
    "covost2": _covost2,
}
"""Writers of the stand-ins by test set."""
