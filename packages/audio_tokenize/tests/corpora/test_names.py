"""Names and folders as file systems and archives have them: nothing vanishes without a word."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_tokenize.corpora import AbstractCorpus, Corpus, Skipped, Utterance, open_corpus
from audio_tokenize.corpora.folder import audio_files
from audio_tokenize.waveform import load_audio


def sound(seconds: float = 0.5) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).uniform(-0.5, 0.5, round(8000 * seconds)), 8000, format="WAV")
    return buffer.getvalue()


SOUND = sound()


def add_clip(path: Path, text: str = "hello") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(SOUND)
    path.with_suffix(".txt").write_text(text, encoding="utf-8")


def archive(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def read(corpus: AbstractCorpus) -> tuple[list[str], dict[str, str]]:
    found = [item for shard in corpus.shards() for item in corpus.read(shard)]
    skipped = {item.id: item.reason for item in found if isinstance(item, Skipped)}
    return [item.id for item in found if isinstance(item, Utterance)], skipped


def test_names_with_dots_in_an_archive_are_utterances_of_their_own(tmp_path):
    names = ("spk.1/a", "LJ001.0001", "LJ001.0002")
    members: dict[str, bytes | tarfile.TarInfo] = {
        f"{name}{suffix}": content for name in names for suffix, content in ((".wav", SOUND), (".txt", b"words"))
    }
    assert read(open_corpus(archive(tmp_path / "dots.tar", members))) == (list(names), {})


def test_an_archive_names_what_it_cannot_use(tmp_path):
    link = tarfile.TarInfo("linked.wav")
    link.type, link.linkname = tarfile.LNKTYPE, "good.wav"
    members = {
        "good.wav": SOUND, "good.txt": b"fine", "good.cls": b"7",
        "linked.wav": link, "linked.txt": b"linked",
        "other.m4a": b"ftyp", "other.txt": b"other",
        "left.left.wav": SOUND, "left.json": b'{"text": "left"}',
        "twice.wav": SOUND, "twice.WAV": SOUND, "twice.txt": b"twice",
        "alone.webm": b"x",
        "README.md": b"of the archive",
    }  # fmt: skip
    utterances, skipped = read(open_corpus(archive(tmp_path / "odd.tar", members)))
    assert utterances == ["good", "left.left"]
    reasons = {
        "linked": "a link to `good.wav`",
        "other": ".m4a is not read",
        "left": "there is no audio",
        "twice": "another recording of this name",
        "alone": ".webm is not read",
    }
    assert skipped.keys() == reasons.keys()
    assert all(reason in skipped[name] for name, reason in reasons.items())
    assert all("odd.tar" in reason for reason in skipped.values())


@pytest.mark.parametrize("order", [("wav", "txt", "json"), ("json", "txt", "wav"), ("txt", "json", "wav")])
def test_what_the_json_beside_a_txt_says_is_kept_in_any_order(tmp_path, order):
    contents = {"wav": SOUND, "txt": b"words", "json": b'{"speaker": "anna"}'}
    corpus = open_corpus(archive(tmp_path / "both.tar", {f"a.{suffix}": contents[suffix] for suffix in order}))
    ((utterance,),) = [list(corpus.read(shard)) for shard in corpus.shards()]
    assert isinstance(utterance, Utterance)
    assert (utterance.text, utterance.speaker) == ("words", "anna")


def test_the_times_of_a_json_in_an_archive_are_kept(tmp_path):
    facts = [{"text": "part", "start": 0.1, "end": 0.4}, {"text": "x", "start_ms": 3}, {"text": "x", "duration": 9.0}]
    members = {}
    for number, fact in enumerate(facts):
        members |= {f"{number}.json": json.dumps(fact).encode(), f"{number}.wav": SOUND}
    corpus = open_corpus(archive(tmp_path / "times.tar", members))
    (utterance,) = corpus
    assert (utterance.start_seconds, utterance.end_seconds) == (0.1, 0.4)
    _, skipped = read(corpus)
    assert "`start_ms` is not read" in skipped["1"]
    assert "of the 9.00 s that are stated" in skipped["2"]


def test_folders_behind_links_are_read_once_and_loops_end(tmp_path):
    add_clip(tmp_path / "speech/a.wav")
    add_clip(tmp_path / "elsewhere/b.wav")
    speech = tmp_path / "speech"
    (speech / "spk2").symlink_to("../elsewhere")
    (speech / "spk3").symlink_to("../elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(speech)
    (speech / "nowhere").symlink_to("../gone")
    (speech / "self").symlink_to("self")
    (speech / "c.wav").symlink_to("../elsewhere/b.wav")
    utterances, skipped = read(open_corpus(speech))
    assert utterances == ["a", "c", "spk2/b"]
    assert skipped.keys() == {"spk3", "spk2/up", "nowhere", "self"}
    assert "which is read already" in skipped["spk3"]
    assert "which is read already" in skipped["spk2/up"]
    assert "which does not exist" in skipped["nowhere"]
    assert [path.name for path in audio_files(speech)] == ["a.wav", "c.wav", "b.wav"]


def test_transcripts_in_capitals_are_read(tmp_path):
    (tmp_path / "SA1.WAV").write_bytes(SOUND)
    (tmp_path / "SA1.TXT").write_text("she had your dark suit")
    (tmp_path / "SA2.wav").write_bytes(SOUND)
    (tmp_path / "sa2.txt").write_text("another name")
    (tmp_path / "SA3.wav").write_bytes(SOUND)
    (tmp_path / "SA3.txt").write_text("one")
    (tmp_path / "SA3.TXT").write_text("two")
    corpus = open_corpus(tmp_path)
    assert isinstance(corpus, Corpus)
    assert [(utterance.id, utterance.text) for utterance in corpus] == [("SA1", "she had your dark suit")]
    reasons = {skipped.id: skipped.reason for skipped in corpus.skipped}
    assert "expected its transcript as SA2.txt, got sa2.txt; rename it" in reasons["SA2"]
    assert "expected one transcript, got SA3.TXT and SA3.txt" in reasons["SA3"]


@pytest.mark.parametrize("place", ["name", "subfolder"])
def test_a_name_that_is_not_utf8_is_skipped_and_the_others_are_read(tmp_path, place: str):
    odd = os.fsdecode(b"caf\xe9")
    add_clip(tmp_path / (f"{odd}.wav" if place == "name" else f"{odd}/a.wav"))
    add_clip(tmp_path / "ok.wav")
    corpus = open_corpus(tmp_path)
    assert isinstance(corpus, Corpus)
    assert [utterance.id for utterance in corpus] == ["ok"]
    (skipped,) = corpus.skipped
    assert skipped.id == ("caf\\udce9" if place == "name" else "caf\\udce9/a")
    assert "byte 0xe9" in skipped.reason
    assert "rename the file" in skipped.reason
    assert "iconv" not in skipped.reason


def test_a_corpus_in_a_folder_whose_name_is_not_utf8_is_read_whole(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    add_clip(folder / "ok.wav")
    (utterance,) = open_corpus(folder)
    assert len(load_audio(utterance.audio, 8000)) == 4000
    assert open_corpus(folder).name == "caf\\udce9"
    (folder / "ok.wav").write_bytes(b"")
    add_clip(folder / "b.wav")
    corpus = open_corpus(folder)
    assert isinstance(corpus, Corpus)
    (skipped,) = corpus.skipped
    assert "caf\\udce9" in skipped.reason


def test_pipes_and_audio_of_other_formats_are_named(tmp_path):
    add_clip(tmp_path / "ok.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    os.mkfifo(tmp_path / "ok2.txt")
    (tmp_path / "ok2.wav").write_bytes(SOUND)
    (tmp_path / "b.m4a").write_bytes(b"ftyp")
    (tmp_path / "notes.md").write_text("notes")
    corpus = open_corpus(tmp_path)
    assert isinstance(corpus, Corpus)
    reasons = {skipped.id: skipped.reason for skipped in corpus.skipped}
    assert [utterance.id for utterance in corpus] == ["ok", "ok2"]
    assert reasons.keys() == {"pipe.wav", "ok2.txt", "b.m4a"}
    assert "a pipe" in reasons["pipe.wav"]
    assert "ffmpeg -i b.m4a b.flac" in reasons["b.m4a"]


def test_a_manifest_that_names_a_device_does_not_wait_for_its_end(tmp_path):
    add_clip(tmp_path / "ok.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    names = ["ok.wav", "pipe.wav", "/dev/zero", "", "..", "a\0b.wav", "x" * 5000 + ".wav", "no.wav"]
    lines = [json.dumps({"audio": name, "text": "hello", "id": f"n{i}"}) for i, name in enumerate(names)]
    (tmp_path / "speech.jsonl").write_text("\n".join(lines))
    corpus = open_corpus(tmp_path / "speech.jsonl")
    assert isinstance(corpus, Corpus)
    assert [utterance.id for utterance in corpus] == ["n0"]
    assert [skipped.id for skipped in corpus.skipped] == [f"n{i}" for i in range(1, 8)]
