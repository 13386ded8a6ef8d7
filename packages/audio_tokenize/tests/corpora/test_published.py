"""What single published layouts have that others have not: their times, groups, odd members and places; and a corpus
on the hub, against a hub of our own on this machine."""

import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from upath import UPath

from audio_data import InputError
from audio_tokenize.corpora import Skipped, Utterance, open_corpus
from audio_tokenize.corpora.published import matches


def sound(seconds: float = 1.0, audio_format: str = "WAV", rate_hz: int = 8_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * np.sin(np.arange(round(seconds * rate_hz))), rate_hz, format=audio_format)
    return buffer.getvalue()


def archive(path, members: dict[str, bytes], mode: Literal["w", "w:gz"] = "w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def read(corpus) -> tuple[list[Utterance], dict[str, str]]:
    found = [item for shard in corpus.shards() for item in corpus.read(shard)]
    skipped = {item.id: item.reason for item in found if isinstance(item, Skipped)}
    return [item for item in found if isinstance(item, Utterance)], skipped


def yodas(root, captions: dict[str, dict[str, str]], videos: dict[str, bytes], folder: str = "en000"):
    archive(root / f"data/{folder}/audio/00000007.tar.gz", {f"{name}.wav": v for name, v in videos.items()}, "w:gz")
    text = root / f"data/{folder}/text/00000007.json"
    text.parent.mkdir(parents=True)
    text.write_text(json.dumps([{"audio_id": name, "text": chunks} for name, chunks in captions.items()]))
    return root


class TestYodas:
    @pytest.fixture
    def odd(self, tmp_path):
        captions = {
            "a-b": {
                "a-b-00000-00000000-00000040": "first",
                "a-b-00001-00000040-00000040": "no length",
                "a-b-00002-00000090-00000050": "backwards",
                "a-b-00003-00000060-00000130": "a little behind the end",
                "a-b-00004-00000060-00000151": "far behind the end",
                "a-b-00005-00000200-00000260": "after the end",
                "a-b-chunk": "no times",
            },
            "mute": {"mute-00000-00000000-00000040": "never heard"},
        }
        return yodas(tmp_path, captions, {"a-b": sound(1.0), "unwritten": sound(1.0)})

    def test_captions_that_no_audio_can_have_are_skipped_one_by_one(self, odd):
        utterances, skipped = read(open_corpus("yodas2", root=odd))
        assert [u.text for u in utterances] == ["first", "a little behind the end"]
        reasons = {
            "a-b-00001-00000040-00000040": "start and end are both 0.4 s",
            "a-b-00002-00000090-00000050": "starts at 0.9 s, after its end at 0.5 s",
            "a-b-00004-00000060-00000151": "ends after the 1.00 s",
            "a-b-00005-00000200-00000260": "ends after the 1.00 s",
            "a-b-chunk": "VIDEO-INDEX-START-END",
            "unwritten": "no captions",
            "mute": "no audio",
        }
        assert skipped.keys() == reasons.keys()
        assert all(reason in skipped[name] for name, reason in reasons.items())

    def test_times_are_hundredths_of_a_second_and_end_with_the_audio(self, odd):
        first, last = read(open_corpus("yodas2", root=odd))[0]
        assert (first.start_seconds, first.end_seconds, first.seconds) == (0.0, 0.4, pytest.approx(0.4))
        assert (last.start_seconds, last.end_seconds, last.seconds) == (0.6, 1.0, pytest.approx(0.4))
        assert (last.recording, last.language, last.extra["index"]) == ("a-b", "en", 3)
        assert (last.extra["begin_seconds"], last.extra["end_seconds"]) == (0.6, 1.3)

    def test_start_after_end_is_an_error_where_that_is_asked_for(self, odd):
        with pytest.raises(InputError, match=r"both 0\.4 s"):
            read(open_corpus("yodas2", root=odd, strict=True))

    def test_a_language_is_a_folder(self, odd):
        yodas(odd, {"v": {"v-00000-00000000-00000050": "hallo"}}, {"v": sound()}, "de101")
        assert [shard.name for shard in open_corpus("yodas2", root=odd).shards()] == [
            "de101/00000007",
            "en000/00000007",
        ]
        german = open_corpus("yodas2", root=odd, language="de")
        assert [(u.text, u.language) for u in read(german)[0]] == [("hallo", "de")]
        assert german.name == "yodas2-de"

    def test_captions_that_were_not_downloaded_are_asked_for(self, odd):
        (odd / "data/en000/text/00000007.json").unlink()
        with pytest.raises(InputError, match=r"data/en000/text/00000007\.json"):
            open_corpus("yodas2", root=odd).shards()

    def test_captions_of_another_form_name_their_file(self, odd):
        (odd / "data/en000/text/00000007.json").write_text('{"a-b": {}}')
        with pytest.raises(InputError, match=r"00000007\.json.*audio_id"):
            read(open_corpus("yodas2", root=odd))


class TestEmilia:
    @pytest.fixture
    def folder(self, tmp_path):
        name = "EN_B00000_S00040_W000004"
        facts = {"id": name, "text": " Hello there", "speaker": "EN_B00000_S00040", "language": "en", "duration": 1.0}
        archive(
            tmp_path / "Emilia/EN/EN-B000000.tar",
            {
                f"{name}.mp3": sound(1.0, "MP3", 24_000),
                f"{name}.json": json.dumps(facts).encode(),
                "EN_B00000_S00041_W000000.json": json.dumps(facts).encode(),
                "EN_B00000_S00041_W000001.mp3": sound(1.0, "MP3", 24_000),
                "EN_B00000_S00042_W000000.json": b"{not json",
                "EN_B00000_S00042_W000000.mp3": sound(1.0, "MP3", 24_000),
                "EN_B00000_S00043_W000000.json": json.dumps(facts | {"duration": 1.8}).encode(),
                "EN_B00000_S00043_W000000.mp3": sound(1.0, "MP3", 24_000),
            },
        )
        return tmp_path

    def test_the_stray_space_is_taken_away_or_kept_by_name(self, folder):
        (fixed,), _ = read(open_corpus("emilia", root=folder))
        (released,), _ = read(open_corpus("emilia", root=folder, transcripts="verbatim"))
        assert (fixed.text, released.text) == ("Hello there", " Hello there")

    def test_the_choice_of_transcripts_shows_in_the_fingerprint(self, folder):
        fixed, released = (open_corpus("emilia", root=folder, transcripts=t).shards()[0] for t in (None, "verbatim"))
        assert fixed.name == released.name
        assert fixed.fingerprint != released.fingerprint

    def test_a_rule_that_was_renamed_has_the_fingerprint_of_its_former_name(self, folder):
        """Otherwise a folder of codes that was begun before could not be gone on with."""
        (shard,) = open_corpus("emilia", root=folder, transcripts="verbatim").shards()
        path = folder / shard.files[0]
        digest = [[path.relative_to(folder).as_posix(), path.stat().st_size]]
        content = json.dumps([digest, ["emilia", "as-published"]])
        assert shard.fingerprint == hashlib.sha256(content.encode()).hexdigest()

    def test_a_recording_is_what_the_file_names_share(self, folder):
        (utterance,), _ = read(open_corpus("emilia", root=folder))
        assert utterance.recording == utterance.speaker == "EN_B00000_S00040"
        assert utterance.extra["file"] == "EN_B00000_S00040_W000004"

    def test_members_without_their_other_half_are_skipped(self, folder):
        _, skipped = read(open_corpus("emilia", root=folder))
        reasons = {
            "EN_B00000_S00041_W000000": "no audio",
            "EN_B00000_S00041_W000001": "no .json or .txt",
            "EN_B00000_S00042_W000000": "expected JSON",
            "EN_B00000_S00043_W000000": "1.00 s of the 1.80 s that are stated",
        }
        assert skipped.keys() == reasons.keys()
        assert all(reason in skipped[name] for name, reason in reasons.items())


def test_the_member_at_which_an_archive_ends_is_named(tmp_path):
    members = {f"{name}.{suffix}": content for name in "ab" for suffix, content in (("txt", b"yes"), ("wav", sound()))}
    path = archive(tmp_path / "speech.tar", members)
    content = path.read_bytes()
    corpus = open_corpus(path)
    (shard,) = corpus.shards()
    path.write_bytes(content[: content.index(b"b.wav") + 4_000])
    stream = corpus.read(shard)
    assert next(stream).id == "a"
    with pytest.raises(InputError, match=r"speech\.tar`, member `b\.wav`"):
        next(stream)
    path.write_bytes(content[: content.index(b"b.txt")])
    with pytest.raises(InputError, match=r"speech\.tar`, after member `a\.wav`.*end mark"):
        list(corpus.read(shard))


def test_an_id_that_comes_twice_is_skipped_the_second_time(tmp_path):
    row = {"audio": {"bytes": sound(), "path": "x.wav"}, "id": "x", "text": "yes"}
    pq.write_table(pa.Table.from_pylist([row, row]), tmp_path / "speech.parquet")
    utterances, skipped = read(open_corpus(tmp_path / "speech.parquet"))
    assert [u.id for u in utterances] == ["x"]
    assert "occurred before" in skipped["x"]


def test_a_table_without_audio_names_its_columns(tmp_path):
    pq.write_table(pa.table({"text": ["yes"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet.*expected a column audio, got \['text'\]"):
        read(open_corpus(tmp_path / "a.parquet"))


def test_own_tables_may_lack_transcripts_and_published_ones_may_not(tmp_path):
    pq.write_table(pa.table({"audio": [sound()]}), tmp_path / "a.parquet")
    cells = {"audio": [sound(), sound(), sound()], "transcription": ["said", None, " "], "speaker_id": [7, None, 7]}
    pq.write_table(pa.table(cells), tmp_path / "b.parquet")
    utterances, skipped = read(open_corpus(tmp_path, language="fr"))
    assert [(u.text, u.speaker, u.language) for u in utterances] == [
        ("", "unknown", "fr"),
        ("said", "7", "fr"),
        ("", "unknown", "fr"),
    ]
    assert [reason for reason in skipped.values() if "the text is empty; leave it out" in reason] == [*skipped.values()]
    with pytest.raises(InputError, match=r"expected a column text, got \['audio'\]"):
        read(open_corpus("peoples-speech-clean", root=tmp_path / "a.parquet"))


def test_a_table_may_hold_bare_bytes_or_paths_and_rows_without_either(tmp_path):
    (tmp_path / "far.wav").write_bytes(sound(0.5))
    bare = pa.table({"audio": pa.array([sound(), None], pa.binary()), "text": ["near", "nowhere"]})
    pq.write_table(bare, tmp_path / "a.parquet")
    cells = [{"bytes": None, "path": "far.wav"}, {"bytes": None, "path": None}]
    pq.write_table(pa.table({"audio": cells, "text": ["far", "nowhere"]}), tmp_path / "b.parquet")
    utterances, skipped = read(open_corpus(tmp_path))
    assert [(u.text, u.seconds) for u in utterances] == [("near", 1.0), ("far", 0.5)]
    assert len(skipped) == 2
    assert all("there is no audio" in reason for reason in skipped.values())


def test_mls_carries_what_its_gaps_need(tmp_path):
    row = {
        "audio": {"bytes": sound(1.5, "FLAC", 16_000), "path": "x.flac"},
        "original_path": "http://www.archive.org/download/b/b_01.mp3",
        "begin_time": 395.72,
        "end_time": 397.22,
        "transcript": "a line ",
        "audio_duration": 1.5,
        "speaker_id": "4800",
        "book_id": "10003",
    }
    other = row | {"original_path": "http://www.archive.org/download/b/b_02.mp3"}
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist([row, other]), tmp_path / "data/dev-00000-of-00001.parquet")
    first, second = read(open_corpus("mls-en", root=tmp_path))[0]
    assert first.id.startswith("4800-10003-")
    assert first.id.endswith("-00039572-00039722")
    assert (first.text, first.split, first.seconds) == ("a line", "dev", pytest.approx(1.5))
    assert first.extra == {
        "book": "10003",
        "original_path": row["original_path"],
        "begin_seconds": 395.72,
        "end_seconds": 397.22,
    }
    assert first.recording != second.recording
    assert read(open_corpus("mls-en", root=tmp_path, split="dev"))[0] == [first, second]
    with pytest.raises(InputError, match=r"split 'train'.*splits \['dev'\]"):
        open_corpus("mls-en", root=tmp_path, split="train").shards()


def test_files_of_other_splits_are_not_even_listed(tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "dev", "test"):
        (tmp_path / f"data/{split}-00000-of-00001.parquet").write_bytes(b"")
    names = [shard.name for shard in open_corpus("mls-en", root=tmp_path, split=("test", "dev")).shards()]
    assert [name.partition("/")[2].partition("-")[0] for name in names] == ["dev", "test"]
    assert len(open_corpus("mls-en", root=tmp_path).shards()) == 3
    (tmp_path / "data/test-00000-of-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"split 'test'\), got none in 2 files.* the splits \['dev', 'train'\]"):
        open_corpus("mls-en", root=tmp_path, split=("dev", "test")).shards()


def test_librispeech_that_lies_packed_and_unpacked_is_read_once(tmp_path):
    chapter = {f"LibriSpeech/dev-clean/84/121123/84-121123-000{i}.flac": sound(1.0, "FLAC", 16_000) for i in range(2)}
    chapter["LibriSpeech/dev-clean/84/121123/84-121123.trans.txt"] = b"84-121123-0000 GO\n84-121123-0007 ON\n"
    archive(tmp_path / "dev-clean.tar.gz", chapter, "w:gz")
    packed, packed_skips = read(open_corpus("librispeech", root=tmp_path))
    for name, content in chapter.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    corpus = open_corpus("librispeech", root=tmp_path)
    assert [shard.name for shard in corpus.shards()] == ["dev-clean/84"]
    unpacked, unpacked_skips = read(corpus)
    facts = [(u.id, u.text, u.recording, u.speaker, u.split, u.extra) for u in packed]
    assert facts == [(u.id, u.text, u.recording, u.speaker, u.split, u.extra) for u in unpacked]
    assert facts == [("84-121123-0000", "go", "84-121123", "84", "dev", {"chapter": "121123", "subset": "dev-clean"})]
    assert packed_skips.keys() == unpacked_skips.keys() == {"84-121123-0001", "84-121123-0007"}


def test_cvss_pairs_carry_both_sides(tmp_path):
    (tmp_path / "cvss_t_zh_en_v1.0/dev").mkdir(parents=True)
    (tmp_path / "cvss_t_zh_en_v1.0/dev.tsv").write_text("z1.mp3\tgood morning\nz2.mp3\tlost\n")
    (tmp_path / "cvss_t_zh_en_v1.0/dev/z1.mp3.wav").write_bytes(sound())
    (tmp_path / "zh-CN/clips").mkdir(parents=True)
    (tmp_path / "zh-CN/validated.tsv").write_text('client_id\tpath\tsentence\nann\tz1.mp3\t"早上好\n', encoding="utf-8")
    (tmp_path / "zh-CN/clips/z1.mp3").write_bytes(sound(1.0, "MP3", 24_000))
    (source, target), skipped = read(open_corpus("cvss-t", root=tmp_path, language="zh", split="dev"))
    assert (source.id, source.text, source.language, source.split) == ("z1", '"早上好', "zh", "dev")
    assert source.extra == {
        "role": "source",
        "target": "z1-en",
        "target_text": "good morning",
        "target_speaker": "ann",
        "pair": "z1",
    }
    assert (target.id, target.text, target.language, target.speaker) == ("z1-en", "good morning", "en", "ann")
    assert target.extra == {"role": "target", "pair": "z1"}
    assert "no such clip" in skipped["z2.mp3"]
    (tmp_path / "zh-CN/validated.tsv").unlink()
    with pytest.raises(InputError, match=r"validated\.tsv` of Common Voice 4"):
        open_corpus("cvss-t", root=tmp_path).shards()


def test_shards_in_an_object_store_are_fetched_as_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIO_DATA_CACHE", str(tmp_path / "cache"))
    bucket = UPath("memory://speech-bucket")
    for folder, text in (("en000", "one"), ("en001", "two")):
        yodas(tmp_path / "local", {text: {f"{text}-00000-00000000-00000050": text}}, {text: sound()}, folder)
    for path in (tmp_path / "local").rglob("*.*"):
        remote = bucket / path.relative_to(tmp_path / "local").as_posix()
        remote.parent.mkdir(parents=True, exist_ok=True)
        remote.write_bytes(path.read_bytes())
    corpus = open_corpus("yodas2", root=str(bucket))
    shards = corpus.shards()
    assert [s.fingerprint for s in shards] == [
        s.fingerprint for s in open_corpus("yodas2", root=tmp_path / "local").shards()
    ]
    assert not (tmp_path / "cache").exists()
    assert [u.text for u in corpus.read(shards[1]) if isinstance(u, Utterance)] == ["two"]
    assert len(list((tmp_path / "cache").rglob("[0-9a-f]*-00000007.*"))) == 2


def test_files_whose_names_cannot_be_told_apart_are_refused(tmp_path):
    for name in ("a b", "a,b"):
        pq.write_table(pa.table({"audio": [sound()], "text": ["yes"]}), tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match=r"shard `a_b`.*rename one"):
        open_corpus(tmp_path).shards()


REPOSITORY = "MLCommons/peoples_speech"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _table() -> bytes:
    audio, table = io.BytesIO(), io.BytesIO()
    soundfile.write(audio, np.zeros(8_000), 8_000, format="FLAC")
    row = {
        "id": "one.flac",
        "audio": {"bytes": audio.getvalue(), "path": "one.flac"},
        "duration_ms": 1000,
        "text": "yes",
    }
    pq.write_table(pa.Table.from_pylist([row]), table)
    return table.getvalue()


FILES = {
    "README.md": b"# hello",
    "clean/train-00000-of-00002.parquet": _table(),
    "clean/train-00001-of-00002.parquet": b"not fetched, so never opened",
    "dirty/train-00000-of-00001.parquet": b"of another subset",
}


class _Hub(http.server.BaseHTTPRequestHandler):
    """The two requests of the hub's protocol that a dataset needs: the tree of a revision, and a file."""

    fetched: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        tree, file = f"/api/datasets/{REPOSITORY}/tree/main/", f"/datasets/{REPOSITORY}/resolve/main/"
        if path.startswith(tree):
            folder = path.removeprefix(tree)
            found = [name for name in FILES if name.startswith(f"{folder}/")]
            listed = [{"type": "file", "path": n, "size": len(FILES[n]), "oid": "0" * 40} for n in found]
            self._send(200, json.dumps(listed).encode(), with_body)
        elif path.removeprefix(file) in FILES:
            if with_body:
                self.fetched.append(path.removeprefix(file))
            self._send(200, FILES[path.removeprefix(file)], with_body)
        else:
            self._send(404, b"", with_body, {"X-Error-Code": "RevisionNotFound"})

    def _send(self, status: int, content: bytes, with_body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        known = {"Content-Length": str(len(content)), "ETag": f'"{len(content)}"', "X-Repo-Commit": COMMIT}
        for name, value in (known | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def hub():
    """Address of a hub with one dataset, and the files that were fetched from it."""
    handler = type("Hub", (_Hub,), {"fetched": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.fetched
    server.shutdown()
    server.server_close()


_READ = """
import json, sys
from audio_data import InputError
from audio_tokenize.corpora import open_corpus
for revision in sys.argv[1:]:
    try:
        corpus = open_corpus("peoples-speech-clean", revision=revision)
        shards = corpus.shards()
        listed = [(shard.name, shard.num_bytes) for shard in shards]
        print(json.dumps([listed, [(u.id, u.text, u.seconds) for u in corpus.read(shards[0])]]))
    except InputError as error:
        print(json.dumps(error.message))
"""


def _read(cache: Path, *revisions: str, **variables: str) -> list:
    """What another process reads or is told, since the hub's address is a matter of its environment."""
    environment = os.environ | {"HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"} | variables
    command = [sys.executable, "-c", _READ, *revisions]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_shards_are_listed_first_and_fetched_one_at_a_time(tmp_path, hub):
    address, fetched = hub
    (listed, read), refused = _read(tmp_path, "main", "gone", HF_ENDPOINT=address)
    assert listed == [[name.removesuffix(".parquet"), len(FILES[name])] for name in FILES if name.startswith("clean")]
    assert read == [["one.flac", "yes", 1.0]]
    assert fetched == ["clean/train-00000-of-00002.parquet"]
    assert "corpus `peoples-speech-clean`: expected revision 'gone' in MLCommons/peoples_speech, got no such" in refused


def test_without_a_network_it_says_what_to_download_and_where_to_put_it(tmp_path):
    (said,) = _read(tmp_path, "main", HF_HUB_OFFLINE="1")
    assert "the hub cannot be reached" in said
    assert (
        "hf download MLCommons/peoples_speech --repo-type dataset --revision main --include 'clean/*.parquet'" in said
    )
    assert "peoples-speech-clean --root DIR" in said


def test_without_the_hubs_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"uv pip install 'huggingface-hub"):
        open_corpus("mls-en").shards()


@pytest.mark.parametrize(
    ("glob", "name", "fits"),
    [
        ("data/*.parquet", "data/a.parquet", True),
        ("data/*.parquet", "data/b/a.parquet", False),
        ("**/*.parquet", "a.parquet", True),
        ("**/*.parquet", "x/y/a.parquet", True),
        ("**/*.parquet", "x/y/a.parquet.tmp", False),
        ("data/en1[0-2][0-9]/*", "data/en129/a", True),
        ("data/en1[0-2][0-9]/*", "data/en130/a", False),
        ("data/th?00/*", "data/th100/a", True),
        ("a.b/*", "axb/c", False),
    ],
)
def test_globs_mean_on_the_hub_what_they_mean_on_disk(tmp_path, glob: str, name: str, fits: bool):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert matches(name, (glob,)) == fits
    assert (tmp_path / name in tmp_path.glob(glob)) == fits
