"""Every reader through one suite, each on a small corpus that is written here in the layout of its publisher."""

import dataclasses
import gzip
import hashlib
import io
import json
import pickle
import re
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from audio_data import InputError
from audio_tokenize.corpora import AbstractCorpus, Skipped, Utterance, open_corpus
from audio_tokenize.waveform import load_audio

RATE_HZ = 24_000
GAP_SECONDS = 0.25


def tone(number: int, seconds: float = 0.8) -> np.ndarray:
    """A sound that no other number has: two sines, and a beginning unlike its end."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound = np.sin(2 * np.pi * (300 + 170 * number) * time) + 0.5 * np.sin(2 * np.pi * (1900 - 110 * number) * time)
    return (0.3 * sound * np.linspace(0.3, 1, len(time))).astype(np.float32)


@dataclass(frozen=True)
class Clip:
    """What a test wants a layout to hold; `content` stands for the encoded `samples` where a test damages them."""

    id: str
    text: str
    samples: np.ndarray = field(repr=False)
    speaker: str = "unknown"
    content: bytes | None = None

    def encoded(self, audio_format: str) -> bytes:
        return encoded(self.samples, audio_format) if self.content is None else self.content


def encoded(samples: np.ndarray, audio_format: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, format=audio_format)
    return buffer.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw(content) if isinstance(content, str) else content)
    return path


def raw(text: str) -> bytes:
    """UTF-8, in which U+DC80 to U+DCFF are the bytes 0x80 to 0xFF, and any other surrogate is three bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def strings(values: Sequence[str]) -> pa.Array:
    """A column of text that need not be UTF-8, as other writers leave it."""
    return pa.array([raw(value) for value in values], pa.binary()).view(pa.string())


def write_tar(path: Path, members: Sequence[tuple[str, bytes]], mode: Literal["w", "w:gz"] = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_parquet(path: Path, rows: Sequence[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A page, which is read in one piece, may be as large as its row group; audio tables have groups of 100 rows or so.
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    audio = columns.pop("audio")
    contents = pa.array([cell["bytes"] for cell in audio], pa.binary())
    cells = pa.StructArray.from_arrays([contents, strings([cell["path"] for cell in audio])], ["bytes", "path"])
    table = {n: strings(values) if isinstance(values[0], str) else pa.array(values) for n, values in columns.items()}
    pq.write_table(pa.table({"audio": cells, **table}), path, row_group_size=1)
    return path


def audio_cell(clip: Clip, audio_format: str) -> dict:
    return {"bytes": clip.encoded(audio_format), "path": f"{clip.id}.{audio_format.lower()}"}


def folder(root: Path, clips: Sequence[Clip]) -> Path:
    for clip in clips:
        write(root / f"{clip.id}.wav", clip.encoded("WAV"))
        write(root / f"{clip.id}.txt", clip.text)
    return root


def ljspeech(root: Path, clips: Sequence[Clip]) -> Path:
    for clip in clips:
        write(root / "wavs" / f"{clip.id}.wav", clip.encoded("WAV"))
    return write(root / "metadata.csv", "".join(f"{clip.id}|{clip.text}|{clip.text}\n" for clip in clips))


def manifest(root: Path, clips: Sequence[Clip]) -> str:
    lines = []
    for clip in clips:
        write(root / "audio" / f"{clip.id}.flac", clip.encoded("FLAC"))
        lines.append(json.dumps({"audio": f"audio/{clip.id}.flac", "text": clip.text, "id": clip.id}))
    return "\n".join(lines)


def jsonl(root: Path, clips: Sequence[Clip]) -> Path:
    return write(root / "speech.jsonl", manifest(root, clips))


def jsonl_gz(root: Path, clips: Sequence[Clip]) -> Path:
    return write(root / "speech.jsonl.gz", gzip.compress(manifest(root, clips).encode()))


def parquet(root: Path, clips: Sequence[Clip]) -> Path:
    rows = [{"audio": audio_cell(clip, "FLAC"), "id": clip.id, "transcription": clip.text} for clip in clips]
    return write_parquet(root / "speech.parquet", rows)


def webdataset(root: Path, clips: Sequence[Clip]) -> Path:
    pairs = [((f"{c.id}.wav", c.encoded("WAV")), (f"{c.id}.txt", raw(c.text))) for c in clips]
    return write_tar(root / "speech.tar", [member for pair in pairs for member in pair])


def webdataset_gz(root: Path, clips: Sequence[Clip]) -> Path:
    pairs = [
        ((f"./{c.id}.json", json.dumps({"text": c.text}).encode()), (f"./{c.id}.ogg", c.encoded("OGG"))) for c in clips
    ]
    return write_tar(root / "speech.tar.gz", [member for pair in pairs for member in pair], "w:gz")


def yodas(root: Path, clips: Sequence[Clip]) -> Path:
    """Two captions a video, half a gap before each; a clip whose bytes are given is a video of its own."""
    videos: dict[str, list[Clip]] = {}
    for clip in clips:
        videos.setdefault(clip.id.rsplit("-", 3)[0], []).append(clip)
    gap = np.zeros(round(GAP_SECONDS * RATE_HZ), np.float32)
    members, captions = [], []
    for video, parts in videos.items():
        given = [part.content for part in parts if part.content is not None]
        sound = np.concatenate([array for part in parts for array in (gap, part.samples)])
        members.append((f"00000000/{video}.wav", given[0] if given else encoded(sound, "WAV")))
        captions.append({"audio_id": video, "text": {part.id: part.text for part in parts}})
    write_tar(root / "data/en000/audio/00000000.tar.gz", members, "w:gz")
    write(root / "data/en000/text/00000000.json", json.dumps(captions))
    return root


def emilia(root: Path, clips: Sequence[Clip]) -> Path:
    members = []
    for clip in clips:
        facts = {"id": clip.id, "wav": f"mp3/{clip.id}.mp3", "text": f" {clip.text}", "duration": 0.8, "dnsmos": 3.4}
        facts |= {"speaker": clip.speaker, "language": "en"}
        members += [(f"{clip.id}.json", json.dumps(facts).encode()), (f"{clip.id}.mp3", clip.encoded("MP3"))]
    write_tar(root / "Emilia/EN/EN-B000000.tar", members)
    return root


def mls(root: Path, clips: Sequence[Clip]) -> Path:
    rows = [
        {
            "audio": audio_cell(clip, "FLAC"),
            "original_path": MLS_ORIGINAL,
            "begin_time": int(clip.id.split("-")[3]) / 100,
            "end_time": int(clip.id.split("-")[4]) / 100,
            "transcript": clip.text,
            "audio_duration": 0.8,
            "speaker_id": clip.speaker,
            "book_id": "4421",
        }
        for clip in clips
    ]
    write_parquet(root / "data/train-00000-of-01416.parquet", rows)
    return root


def librispeech_members(clips: Sequence[Clip]) -> list[tuple[str, bytes]]:
    """Chapter by chapter, the transcripts in the middle of the audio as in the published archives."""
    chapters: dict[str, list[Clip]] = {}
    for clip in clips:
        chapters.setdefault(clip.id.rpartition("-")[0], []).append(clip)
    members = []
    for chapter, parts in chapters.items():
        place = f"LibriSpeech/train-clean-100/{chapter.replace('-', '/')}"
        audio = [(f"{place}/{part.id}.flac", part.encoded("FLAC")) for part in reversed(parts)]
        text = "".join(f"{part.id} {part.text.upper()}\n" for part in parts)
        members += [audio[0], (f"{place}/{chapter}.trans.txt", raw(text)), *audio[1:]]
    return members


def librispeech(root: Path, clips: Sequence[Clip]) -> Path:
    write_tar(root / "train-clean-100.tar.gz", librispeech_members(clips), "w:gz")
    return root


def librispeech_unpacked(root: Path, clips: Sequence[Clip]) -> Path:
    for name, content in librispeech_members(clips):
        write(root / name, content)
    return root


def libritts_r(root: Path, clips: Sequence[Clip]) -> Path:
    rows = [
        {
            "audio": audio_cell(clip, "WAV"),
            "text_normalized": clip.text,
            "text_original": clip.text.upper(),
            "speaker_id": clip.speaker,
            "path": f"/data/{clip.id}.wav",
            "chapter_id": clip.id.split("_")[1],
            "id": clip.id,
        }
        for clip in clips
    ]
    write_parquet(root / "clean/train.clean.100-00000-of-00018.parquet", rows)
    return root


def common_voice(root: Path, clips: Sequence[Clip]) -> Path:
    rows = [
        {
            "client_id": clip.speaker,
            "path": clip.id,
            "audio": audio_cell(clip, "MP3"),
            "sentence": clip.text,
            "up_votes": 2,
            "locale": "en",
        }
        for clip in clips
    ]
    write_parquet(root / "en/validated-00000-of-00138.parquet", rows)
    return root


def peoples_speech(root: Path, clips: Sequence[Clip]) -> Path:
    rows = [{"id": clip.id, "audio": audio_cell(clip, "FLAC"), "duration_ms": 800, "text": clip.text} for clip in clips]
    write_parquet(root / "clean/train-00000-of-00804.parquet", rows)
    return root


def cvss(root: Path, clips: Sequence[Clip]) -> Path:
    """Clips alternate: source, translation, source, translation."""
    translations, sentences = [], ["client_id\tpath\tsentence\tup_votes"]
    for source, target in zip(clips[::2], clips[1::2], strict=True):
        translations.append(f"{source.id}.mp3\t{target.text}")
        sentences.append(f"{source.speaker}\t{source.id}.mp3\t{source.text}\t2")
        write(root / f"de/clips/{source.id}.mp3", source.encoded("MP3"))
        write(root / f"cvss_t_de_en_v1.0/train/{source.id}.mp3.wav", target.encoded("WAV"))
    write(root / "cvss_t_de_en_v1.0/train.tsv", "\n".join(translations) + "\n")
    write(root / "de/validated.tsv", "\n".join(reversed(sentences[1:])).join((f"{sentences[0]}\n", "\n")))
    return root


@dataclass(frozen=True)
class Layout:
    """A layout, and what is special about it.

    Attributes:
        write: Writes it, returns what to open.
        ids: Of its clips.
        corpus: Name to open it by; None opens the path.
        speakers: Of its clips, where it says them.
        container: The file that holds many clips, where there is one.
        is_streamed: Whether a clip is read without those after it.
        lossy: Whether the published audio is compressed with losses.
    """

    write: Callable[[Path, Sequence[Clip]], Path]
    ids: tuple[str, ...]
    corpus: str | None = None
    speakers: tuple[str, ...] = ("unknown",) * 4
    container: str | None = None
    is_streamed: bool = False
    lossy: bool = False

    def clips(self, **changes: object) -> list[Clip]:
        """Four clips; `changes` are of the third."""
        made = [
            Clip(name, f"sentence number {number}", tone(number), speaker)
            for number, (name, speaker) in enumerate(zip(self.ids, self.speakers, strict=True))
        ]
        return [*made[:2], dataclasses.replace(made[2], **changes), made[3]]

    def open(self, root: Path, clips: Sequence[Clip], **options) -> AbstractCorpus:
        return self.open_path(self.write(root, clips), **options)

    def open_path(self, path: Path, **options) -> AbstractCorpus:
        return open_corpus(path, **options) if self.corpus is None else open_corpus(self.corpus, root=path, **options)


NAMES = ("a", "b", "c", "d")
CUTS = ("00000025-00000105", "00000130-00000210")
MLS_ORIGINAL = "http://www.archive.org/download/book/book_01.mp3"
MLS_RECORDING = f"1034-4421-{hashlib.sha256(MLS_ORIGINAL.encode()).hexdigest()[:8]}"
LAYOUTS = {
    "folder": Layout(folder, NAMES),
    "ljspeech": Layout(ljspeech, NAMES),
    "jsonl": Layout(jsonl, NAMES),
    "jsonl.gz": Layout(jsonl_gz, NAMES, container="speech.jsonl.gz"),
    "parquet": Layout(parquet, NAMES, container="speech.parquet", is_streamed=True),
    "tar": Layout(webdataset, NAMES, container="speech.tar", is_streamed=True),
    "tar.gz": Layout(webdataset_gz, NAMES, container="speech.tar.gz", is_streamed=True, lossy=True),
    "yodas": Layout(
        yodas,
        tuple(f"{video}-{i:05d}-{cut}" for video in ("Y65x5_9PNO8", "-k-7_z") for i, cut in enumerate(CUTS)),
        "yodas2",
        container="data/en000/audio/00000000.tar.gz",
        is_streamed=True,
    ),
    "emilia": Layout(
        emilia,
        tuple(f"EN_B00000_S0000{speaker}_W00000{i}" for speaker in range(2) for i in range(2)),
        "emilia",
        tuple(f"EN_B00000_S0000{speaker}" for speaker in (0, 0, 1, 1)),
        container="Emilia/EN/EN-B000000.tar",
        is_streamed=True,
        lossy=True,
    ),
    "mls": Layout(
        mls,
        tuple(f"{MLS_RECORDING}-{80 * i:08d}-{80 * (i + 1):08d}" for i in range(4)),
        "mls-en",
        ("1034",) * 4,
        container="data/train-00000-of-01416.parquet",
        is_streamed=True,
    ),
    "librispeech": Layout(
        librispeech,
        ("103-1240-0000", "103-1240-0001", "103-1241-0000", "103-1241-0001"),
        "librispeech",
        ("103",) * 4,
        container="train-clean-100.tar.gz",
        is_streamed=True,
    ),
    "librispeech-unpacked": Layout(
        librispeech_unpacked,
        ("103-1240-0000", "103-1240-0001", "103-1241-0000", "103-1241-0001"),
        "librispeech",
        ("103",) * 4,
    ),
    "libritts-r": Layout(
        libritts_r,
        tuple(f"103_1241_00000{i}_000000" for i in range(4)),
        "libritts-r",
        ("103",) * 4,
        container="clean/train.clean.100-00000-of-00018.parquet",
        is_streamed=True,
    ),
    "common-voice": Layout(
        common_voice,
        tuple(f"common_voice_en_{i}.mp3" for i in range(4)),
        "common-voice-17-en",
        ("x1", "x2", "x3", "x4"),
        container="en/validated-00000-of-00138.parquet",
        is_streamed=True,
        lossy=True,
    ),
    "peoples-speech": Layout(
        peoples_speech,
        tuple(f"07-28-2016_SLASH_forum_DOT_mp3_0000{i}.flac" for i in range(4)),
        "peoples-speech-clean",
        container="clean/train-00000-of-00804.parquet",
        is_streamed=True,
    ),
    "cvss": Layout(
        cvss,
        ("common_voice_de_1", "common_voice_de_1-en", "common_voice_de_2", "common_voice_de_2-en"),
        "cvss-t",
        ("y1", "y1", "y2", "y2"),
        lossy=True,
    ),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
every_container = pytest.mark.parametrize(
    "layout",
    [layout for layout in LAYOUTS.values() if layout.container],
    ids=[n for n in LAYOUTS if LAYOUTS[n].container],
)
every_stream = pytest.mark.parametrize(
    "layout",
    [layout for layout in LAYOUTS.values() if layout.is_streamed],
    ids=[n for n in LAYOUTS if LAYOUTS[n].is_streamed],
)


def read(corpus: AbstractCorpus) -> list[Utterance | Skipped]:
    return [item for shard in corpus.shards() for item in corpus.read(shard)]


def sound_of(utterance: Utterance) -> np.ndarray:
    return load_audio(utterance.audio, RATE_HZ, utterance.start_seconds, utterance.end_seconds)


def assert_same_sound(found: np.ndarray, wanted: np.ndarray, lossy: bool) -> None:
    assert len(found) == pytest.approx(len(wanted), abs=1200 if lossy else 1)
    shared = min(len(found), len(wanted))
    if lossy:
        assert np.corrcoef(found[:shared], wanted[:shared])[0, 1] > 0.98
    else:
        np.testing.assert_allclose(found[:shared], wanted[:shared], atol=1e-4)


@every_layout
def test_what_was_written_is_read(tmp_path, layout: Layout):
    clips = layout.clips()
    utterances = read(layout.open(tmp_path, clips))
    utterances = [utterance for utterance in utterances if isinstance(utterance, Utterance)]
    assert [(u.id, u.text, u.speaker) for u in utterances] == [(c.id, c.text, c.speaker) for c in clips]
    assert len({u.id for u in utterances}) == len(clips)
    for utterance, clip in zip(utterances, clips, strict=True):
        assert utterance.seconds == pytest.approx(0.8, abs=0.05)
        assert utterance.split == "train"
        assert_same_sound(sound_of(utterance), clip.samples, layout.lossy)


@every_layout
def test_reading_again_and_in_another_process_gives_the_same(tmp_path, layout: Layout):
    corpus = layout.open(tmp_path, layout.clips())
    first = read(corpus)
    assert read(corpus) == first
    sent, shards = pickle.loads(pickle.dumps((corpus, corpus.shards())))
    assert [item for shard in shards for item in sent.read(shard)] == first


@every_layout
def test_shards_have_stable_names_and_telling_fingerprints(tmp_path, layout: Layout):
    written = layout.write(tmp_path / "one", layout.clips())
    shards = layout.open_path(written).shards()
    assert len({shard.name for shard in shards}) == len(shards)
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+", shard.name) for shard in shards)
    assert all(Path(file).is_file() for shard in shards for file in shard.files)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    again = layout.open_path(tmp_path / "two" / written.relative_to(tmp_path / "one")).shards()
    assert [(s.name, s.fingerprint) for s in again] == [(s.name, s.fingerprint) for s in shards]
    changed = layout.open(tmp_path / "three", layout.clips(text="".join(map(str, range(9999))))).shards()
    assert {s.fingerprint for s in changed} != {s.fingerprint for s in shards}


@every_layout
def test_an_empty_transcript_is_skipped(tmp_path, layout: Layout):
    found = read(layout.open(tmp_path, layout.clips(text="  ")))
    skipped = [item for item in found if isinstance(item, Skipped)]
    assert [item.id for item in skipped] == [layout.ids[2]]
    assert "empty" in skipped[0].reason
    assert [item.id for item in found if isinstance(item, Utterance)] == [*layout.ids[:2], layout.ids[3]]


BAD_TEXTS = {
    "a byte that is not UTF-8": "caf\udce9",
    "half a surrogate pair": "half \ud83d of it",
    "a zero character": "a zero \0 in a sentence",
}


@every_layout
@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_a_transcript_that_cannot_be_kept_costs_one_utterance(tmp_path, layout: Layout, text: str):
    found = read(layout.open(tmp_path, layout.clips(text=text)))
    (skipped,) = (item for item in found if isinstance(item, Skipped))
    assert skipped.id == layout.ids[2]
    assert re.search(r"byte 0x|U\+D83D|half of|zero character|got '", skipped.reason)
    assert json.loads(json.dumps(dataclasses.asdict(skipped), ensure_ascii=False).encode())
    assert [item.id for item in found if isinstance(item, Utterance)] == [*layout.ids[:2], layout.ids[3]]


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name not in ("mls", "yodas")])
def test_a_name_that_is_not_utf8_costs_one_utterance(tmp_path, name: str):
    layout = LAYOUTS[name]
    bad = f"{layout.ids[2]}\udce9"
    found = read(layout.open(tmp_path, layout.clips(id=bad)))
    kept = [item.id for item in found if isinstance(item, Utterance)]
    assert kept == [*layout.ids[:2], layout.ids[3]][: len(kept)]
    assert len(kept) >= 2
    skipped = [item for item in found if isinstance(item, Skipped)]
    assert len(kept) + len(skipped) >= 4
    assert all(item.id.encode() and item.reason.encode() for item in skipped)
    assert any("0xe9" in item.reason or "udce9" in item.reason for item in skipped)


RATE_ZERO = encoded(tone(0), "WAV")[:24] + bytes(4) + encoded(tone(0), "WAV")[28:]
NO_SAMPLES = encoded(np.zeros(0, np.float32), "WAV")


@every_layout
@pytest.mark.parametrize(
    "content", [b"this is no audio", b"", RATE_ZERO, NO_SAMPLES], ids=["no audio", "no bytes", "rate 0", "no samples"]
)
def test_audio_that_cannot_be_used_is_skipped_with_its_reason(tmp_path, layout: Layout, content: bytes):
    found = read(layout.open(tmp_path, layout.clips(content=content)))
    skipped = {item.id: item.reason for item in found if isinstance(item, Skipped)}
    # Both captions of a video share its audio.
    assert layout.ids[2] in skipped
    assert set(skipped) <= set(layout.ids[2:])
    assert "expected" in skipped[layout.ids[2]]
    assert [item.id for item in found if isinstance(item, Utterance)][:2] == list(layout.ids[:2])


@every_layout
def test_strict_refuses_what_would_be_skipped(tmp_path, layout: Layout):
    with pytest.raises(InputError, match=f"{re.escape(repr(layout.ids[2]))}.*empty"):
        read(layout.open(tmp_path, layout.clips(text=""), strict=True))


@every_container
@pytest.mark.parametrize("kept", [0.4, 0.8])
def test_a_shard_that_is_cut_short_is_named(tmp_path, layout: Layout, kept: float):
    path = layout.write(tmp_path, layout.clips())
    container = tmp_path / str(layout.container)
    container.write_bytes(container.read_bytes()[: int(container.stat().st_size * kept)])
    with pytest.raises(InputError, match=re.escape(container.name)):
        read(layout.open_path(path))


@every_container
def test_a_shard_that_is_missing_is_named(tmp_path, layout: Layout):
    path = layout.write(tmp_path, layout.clips())
    container = tmp_path / str(layout.container)
    container.unlink()
    with pytest.raises(InputError, match=re.escape(str(path))):
        read(layout.open_path(path))


def bytes_read() -> int:
    """What this process has read from files since it began."""
    return int(Path("/proc/self/io").read_text().split()[1])


@every_stream
def test_nothing_is_read_long_before_it_is_used(tmp_path, layout: Layout):
    """Twelve noises of 0.8 MB, each of its own recording: two of them may be ahead, as buffers go."""
    noise = np.random.default_rng(0).uniform(-1, 1, (12, 400_000)).astype(np.float32)
    contents = [encoded(samples, "WAV") for samples in noise]
    names = {
        "yodas2": [f"video{i}-00000-00000000-00000100" for i in range(12)],
        "mls-en": [f"{MLS_RECORDING}-{80 * i:08d}-{80 * (i + 1):08d}" for i in range(12)],
        "librispeech": [f"103-{1240 + i}-0000" for i in range(12)],
    }.get(layout.corpus or "", [f"a_{i:02d}_{i}" for i in range(12)])
    clips = [Clip(name, "noise", tone(0), "1034", content) for name, content in zip(names, contents, strict=True)]
    corpus = layout.open(tmp_path, clips)
    (shard,) = corpus.shards()
    size = (tmp_path / str(layout.container)).stat().st_size
    assert size > 8_000_000
    stream = corpus.read(shard)
    before = bytes_read()
    for number in range(1, 7):
        assert isinstance(next(stream), Utterance)
        assert bytes_read() - before < (number + 3) * size / 12
