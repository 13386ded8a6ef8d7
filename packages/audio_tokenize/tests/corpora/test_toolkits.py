"""Data of other speech toolkits: Kaldi's data folders, lhotse's manifests, NeMo's."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_data import InputError
from audio_tokenize.corpora import Corpus, open_corpus

# As lhotse 1.33.0 wrote them, by `RecordingSet.to_file`, `SupervisionSet.to_file` and `CutSet.to_file`.
RECORDINGS = """\
{"id": "a", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 8000, "num_samples": 16000, "duration": 2.0, "channel_ids": [0]}
{"id": "b", "sources": [{"type": "file", "channels": [0], "source": "b.wav"}], "sampling_rate": 8000, "num_samples": 16000, "duration": 2.0, "channel_ids": [0]}
"""  # noqa: E501
SUPERVISIONS = """\
{"id": "a-0", "recording_id": "a", "start": 0.1, "duration": 0.8, "channel": 0, "text": "open the door", "language": "en", "speaker": "anna", "custom": {"mood": "calm"}}
{"id": "a-1", "recording_id": "a", "start": 1.0, "duration": 0.9, "channel": 0, "text": "close it", "language": "en", "speaker": "ben"}
{"id": "b-0", "recording_id": "b", "start": 0.0, "duration": 2.0, "channel": 0, "language": "en", "speaker": "anna"}
"""  # noqa: E501
CUTS = """\
{"id": "a-0", "start": 0, "duration": 2.0, "channel": 0, "supervisions": [{"id": "a-0", "recording_id": "a", "start": 0.1, "duration": 0.8, "channel": 0, "text": "open the door", "language": "en", "speaker": "anna", "custom": {"mood": "calm"}}, {"id": "a-1", "recording_id": "a", "start": 1.0, "duration": 0.9, "channel": 0, "text": "close it", "language": "en", "speaker": "ben"}], "recording": {"id": "a", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 8000, "num_samples": 16000, "duration": 2.0, "channel_ids": [0]}, "type": "MonoCut"}
{"id": "b-1", "start": 0, "duration": 2.0, "channel": 0, "supervisions": [{"id": "b-0", "recording_id": "b", "start": 0.0, "duration": 2.0, "channel": 0, "language": "en", "speaker": "anna"}], "recording": {"id": "b", "sources": [{"type": "file", "channels": [0], "source": "b.wav"}], "sampling_rate": 8000, "num_samples": 16000, "duration": 2.0, "channel_ids": [0]}, "type": "MonoCut"}
"""  # noqa: E501
TRIMMED = """\
{"id": "a-0", "start": 0.1, "duration": 0.8, "channel": 0, "supervisions": [{"id": "a-0", "recording_id": "a", "start": 0.0, "duration": 0.8, "channel": 0, "text": "open the door", "language": "en", "speaker": "anna", "custom": {"mood": "calm"}}], "recording": {"id": "a", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 8000, "num_samples": 16000, "duration": 2.0, "channel_ids": [0]}, "type": "MonoCut"}
{"id": "a-1", "start": 1.0, "duration": 0.9, "channel": 0, "supervisions": [{"id": "a-1", "recording_id": "a", "start": 0.0, "duration": 0.9, "channel": 0, "text": "close it", "language": "en", "speaker": "ben"}], "recording": {"id": "a", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 8000, "num_samples": 16000, "duration": 2.0, "channel_ids": [0]}, "type": "MonoCut"}
{"id": "b-0", "start": 0.0, "duration": 2.0, "channel": 0, "supervisions": [], "recording": {"id": "b", "sources": [{"type": "file", "channels": [0], "source": "b.wav"}], "sampling_rate": 8000, "num_samples": 16000, "duration": 2.0, "channel_ids": [0]}, "type": "MonoCut"}
"""  # noqa: E501


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two recordings of two seconds."""
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16_000), 8_000)
    return tmp_path


def opened(path: Path, **options) -> tuple[list[tuple], dict[str, str]]:
    corpus = open_corpus(path, **options)
    assert isinstance(corpus, Corpus)
    found = [(u.id, u.text, u.recording, round(u.start_seconds, 3), round(u.seconds, 3), u.speaker) for u in corpus]
    return found, {skipped.id: skipped.reason for skipped in corpus.skipped}


LHOTSE = [
    ("a-0", "open the door", "a", 0.1, 0.8, "anna"),
    ("a-1", "close it", "a", 1.0, 0.9, "ben"),
    ("b-0", "", "b", 0.0, 2.0, "anna"),
]


@pytest.mark.parametrize("files", [{"cuts": CUTS}, {"recordings": RECORDINGS, "supervisions": SUPERVISIONS}])
def test_cuts_and_supervisions_of_lhotse_become_utterances(folder: Path, files: dict[str, str]):
    for name, content in files.items():
        (folder / f"mine_{name}_train.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    assert opened(folder) == (LHOTSE, {})
    corpus = open_corpus("lhotse", root=folder)
    assert [dict(u.extra) for u in corpus] == [{"mood": "calm"}, {}, {}]
    assert {u.language for u in corpus} == {"en"}


def test_a_file_of_cuts_or_recordings_is_told_from_a_manifest_by_its_content(folder: Path):
    (folder / "speech.jsonl").write_text(TRIMMED)
    expected = [*LHOTSE[:2], ("b-0", "", "b", 0.0, 2.0, "unknown")]
    assert opened(folder / "speech.jsonl") == (expected, {})
    (folder / "speech.jsonl").write_text(RECORDINGS)
    whole = [(name, "", name, 0.0, 2.0, "unknown") for name in "ab"]
    assert opened(folder / "speech.jsonl") == (whole, {})


def test_what_lhotse_holds_and_no_file_has_is_named(folder: Path):
    stereo = json.loads(CUTS.splitlines()[0])
    stereo["recording"] |= {"channel_ids": [0, 1]}
    changed = json.loads(RECORDINGS.splitlines()[0]) | {"id": "fast", "transforms": [{"name": "Speed"}]}
    piped = json.loads(RECORDINGS.splitlines()[0]) | {"id": "pipe", "sources": [{"type": "command", "source": "cat x"}]}
    lines = [stereo, changed, piped, {"id": "m", "tracks": [], "type": "MixedCut"}]
    lines += [json.loads(SUPERVISIONS.splitlines()[0]) | {"id": "alone"}, json.loads(RECORDINGS.splitlines()[1])]
    (folder / "my_cuts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found, skipped = opened(folder)
    assert [name for name, *_ in found] == ["b"]
    reasons = {
        "a-0": "channel 0 is one of 2",
        "fast": "transforms, which are not applied",
        "pipe": "expected one source of type 'file'",
        "m": "expected a MonoCut with a recording, got 'MixedCut'",
        "alone": "give the folder that holds its recordings too",
    }
    assert skipped.keys() == reasons.keys()
    assert all(reason in skipped[name] for name, reason in reasons.items())


def test_recordings_and_supervisions_that_do_not_belong_together_are_named(folder: Path):
    (folder / "recordings.jsonl").write_text(RECORDINGS)
    (folder / "supervisions.jsonl").write_text(SUPERVISIONS.replace('"recording_id": "b"', '"recording_id": "c"'))
    found, skipped = opened(folder)
    assert found == LHOTSE[:2]
    assert "no recording has the id 'c'" in skipped["b-0"]
    assert "no supervision is of this recording" in skipped["b"]


def kaldi(folder: Path, **files: str) -> Path:
    for name, content in {"wav.scp": f"a a.wav\nb {folder / 'b.wav'}\n", **files}.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_a_data_folder_of_kaldi_is_read(folder: Path):
    kaldi(
        folder,
        segments="u1 a 0.10 0.90\nu2 a 1.0 -1\nu3 b 0 2\n",
        text="u1 open  the door\nu2 mach zu\n",
        utt2spk="u1 anna\nu2 ben\nu3 anna\n",
        utt2lang="u2 de\n",
    )
    found, skipped = opened(folder)
    assert skipped == {}
    assert found == [
        ("u1", "open  the door", "a", 0.1, 0.8, "anna"),
        ("u2", "mach zu", "a", 1.0, 1.0, "ben"),
        ("u3", "", "b", 0.0, 2.0, "anna"),
    ]
    assert [u.language for u in open_corpus("kaldi", root=folder)] == ["und", "de", "und"]


def test_a_data_folder_without_segments_has_one_utterance_a_recording(folder: Path):
    kaldi(folder, text="a hello\n")
    expected = [("a", "hello", "a", 0.0, 2.0, "unknown"), ("b", "", "b", 0.0, 2.0, "unknown")]
    assert opened(folder) == (expected, {})


def test_paths_of_kaldi_are_also_relative_to_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch):
    data = folder / "data/train"
    data.mkdir(parents=True)
    (data / "wav.scp").write_text("a wavs/a.wav\n")
    (folder / "wavs").mkdir()
    os.replace(folder / "a.wav", folder / "wavs/a.wav")
    monkeypatch.chdir(folder)
    assert [name for name, *_ in opened(data)[0]] == ["a"]


def test_lines_of_kaldi_that_cannot_be_used_are_named(folder: Path):
    kaldi(
        folder,
        **{"wav.scp": "a a.wav\nb sph2pipe -f wav b.sph |\nc c.m4a\nd gone.wav\n"},
        segments="u1 a 0.1 0.9\nu2 b 0 1\nu3 c 0 1\nu4 d 0 1\nu5 e 0 1\nu6 a 0.5\nu7 a one 2\nu8 a 1.5 9\n",
    )
    found, skipped = opened(folder)
    assert [name for name, *_ in found] == ["u1"]
    reasons = {
        "u2": "is made by the command `sph2pipe -f wav b.sph |`, which is not run",
        "u3": ".m4a is not read",
        "u4": "gone.wav",
        "u5": "expected recording 'e' in wav.scp",
        "u6": "expected 4 columns",
        "u7": "expected `start` in seconds",
        "u8": "ends after the 2.00 s",
    }
    assert skipped.keys() == reasons.keys()
    assert all(reason in skipped[name] for name, reason in reasons.items())


def test_the_manifest_of_nemo_is_read_with_and_without_text(folder: Path):
    lines = [
        {"audio_filepath": "a.wav", "duration": 0.5, "offset": 1.0, "text": "yes"},
        {"audio_filepath": "b.wav", "duration": 2.0, "lang": "fr"},
    ]
    (folder / "train_manifest.json.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found, skipped = opened(folder / "train_manifest.json.jsonl")
    assert skipped == {}
    assert [(text, start, length) for _, text, _, start, length, _ in found] == [("yes", 1.0, 0.5), ("", 0.0, 2.0)]


def test_nothing_usable_is_an_error_with_the_first_reason(folder: Path):
    (folder / "wav.scp").write_text("a cat a.wav |\n")
    with pytest.raises(InputError, match=r"expected at least 1 utterance.*made by the command `cat a.wav |`"):
        open_corpus(folder)
