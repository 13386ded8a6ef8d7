"""Tokenizations run from files in their published forms to a trained model, by the command lines of the recipes.

What the generated corpora of `--scale smoke` have no part in: the groupings of Emilia and MLS, videos with captions of
more than a minute, texts as Nemotron-CC has them, two begin-of-text ids before a document; and, as slow tests, the two
published vocabularies, whose 128,000 and more text tokens take seconds to read.
"""

import gzip
import importlib.util
import io
import json
import re
import shlex
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from click.testing import CliRunner

from audio_data import TokenDataset
from audio_tokenize import DocumentTranscoder, VocabularyFolder
from audio_tokenize.cli import main as audio_tokenize
from audio_tokenize.codecs.mimi import MimiConfig, write_random_mimi
from audio_train.cli import main as audio_train
from audio_train.soda.tokenization import TOKENIZATIONS

RATE_HZ = 24_000
LONG_SECONDS = 61.0
TOKENIZERS = {"marin-mimi": "llama-models", "qwen3x-mimi": "dashscope"}
# By the name of the tokenization, the utterances of each document in order, or a text.
DOCUMENTS = {
    "tokenize-yodas2": [["first caption", "a very long one"], ["of another video"]],
    "tokenize-emilia": [[" of one clip", " and its end"], [" another clip"]],
    "tokenize-mls": [["it begins", "it goes on"], ["after a pause"]],
    "tokenize-nemotron": [["A page of text."], ["Two lines\nof another."]],
}
CORPORA = {"yodas2/en": 0.4, "emilia/en": 0.3, "mls/en": 0.2, "nemotron_cc/hq_actual": 0.1}


def audio(number: int, seconds: float, form: str) -> bytes:
    samples = np.random.default_rng(number).uniform(-0.4, 0.4, round(seconds * RATE_HZ)).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, format=form)
    return buffer.getvalue()


def write_tar(path: Path, members: Sequence[tuple[str, bytes]], mode: Literal["w", "w:gz"] = "w") -> None:
    path.parent.mkdir(parents=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_yodas(root: Path) -> None:
    """Two videos; the second caption of the first lasts 61 seconds."""
    captions = {
        "aaaaaaaaaaa": {"aaaaaaaaaaa-00000-00000000-00000080": "first caption"},
        "bbbbbbbbbbb": {"bbbbbbbbbbb-00000-00000010-00000090": "of another video"},
    }
    captions["aaaaaaaaaaa"][f"aaaaaaaaaaa-00001-00000100-{100 + round(100 * LONG_SECONDS):08d}"] = "a very long one"
    members = [(f"00000000/{v}.wav", audio(i, (1 + LONG_SECONDS, 1)[i], "WAV")) for i, v in enumerate(captions)]
    write_tar(root / "data/en000/audio/00000000.tar.gz", members, "w:gz")
    (root / "data/en000/text").mkdir()
    lines = [{"audio_id": video, "text": texts} for video, texts in captions.items()]
    (root / "data/en000/text/00000000.json").write_text(json.dumps(lines))


def write_emilia(root: Path) -> None:
    """Three pieces of two clips, one clip's not side by side and not in order."""
    pieces = {"S00001_W000001": " and its end", "S00000_W000000": " another clip", "S00001_W000000": " of one clip"}
    members = []
    for number, (name, text) in enumerate(pieces.items()):
        facts = {"id": f"EN_B00000_{name}", "text": text, "duration": 0.8, "speaker": name[:6], "language": "en"}
        facts["wav"] = f"mp3/EN_B00000_{name}.mp3"
        members.append((f"EN_B00000_{name}.json", json.dumps(facts).encode()))
        members.append((f"EN_B00000_{name}.mp3", audio(number, 0.8, "MP3")))
    write_tar(root / "Emilia/EN/EN-B000000.tar", members)


def write_mls(root: Path) -> None:
    """Three pieces of a book's file, out of order; 0.1 s lie between the first two, a second before the last."""
    pieces = {"it goes on": (2.1, 2.9), "after a pause": (3.9, 4.7), "it begins": (1.2, 2.0)}
    rows = [
        {
            "audio": {"bytes": audio(number, 0.8, "FLAC"), "path": f"{number}.flac"},
            "original_path": "http://www.archive.org/download/book/book_01.mp3",
            "begin_time": begin,
            "end_time": end,
            "transcript": text,
            "audio_duration": 0.8,
            "speaker_id": "1034",
            "book_id": "4421",
        }
        for number, (text, (begin, end)) in enumerate(pieces.items())
    ]
    (root / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), root / "data/train-00000-of-01416.parquet", row_group_size=1)


def write_nemotron(root: Path) -> None:
    """One page as it is published, one as in the copy that the study read."""
    first, second = (texts[0] for texts in DOCUMENTS["tokenize-nemotron"])
    folder = root / "quality=high/kind=actual/kind2=actual"
    folder.mkdir(parents=True)
    published = json.dumps({"warc_record_id": "w1", "url": "https://a.example", "language": "eng", "text": first})
    with pa.CompressedOutputStream(str(folder / "CC-MAIN-2013-20-part-00000.jsonl.zstd"), "zstd") as stream:
        stream.write(published.encode() + b"\n")
    copy = json.dumps({"id": "w2", "text": second}) + "\n"
    (folder / "CC-MAIN-2013-20-part-00001.jsonl.gz").write_bytes(gzip.compress(copy.encode()))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of four corpora as they are published, and a Mimi of the published shape of codes."""
    root = tmp_path_factory.mktemp("files")
    for name, write in {
        "tokenize-yodas2": write_yodas,
        "tokenize-emilia": write_emilia,
        "tokenize-mls": write_mls,
        "tokenize-nemotron": write_nemotron,
    }.items():
        write(root / name)
    write_random_mimi(root / "mimi", replace(MimiConfig.tiny(), codebook_size=2048))
    return root


def call(main: click.Command, words: Sequence[str]) -> None:
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, (words, result.output)


def tokenize(words: Sequence[str], files: Path, places: dict[str, Path], kind: str) -> None:
    """Runs a command line of a recipe, with its places put in, and what it would fetch from where it lies here."""
    name, *words = [re.sub(r"^(FILES|CODES|DATA)(?=$|/)", lambda found: str(places[found[0]]), word) for word in words]
    weights = ["--weights", str(files / "mimi")]
    if name == "vocabulary" and kind == "compact":
        words = [str(places["CODES"] / "emilia"), *words[words.index("--out") :]]
    elif name == "vocabulary":
        words[words.index("--tokenizer") + 1] = TOKENIZERS[kind]
        weights += ["--codec", "mimi"]
    call(audio_tokenize, [name, *words, *(weights if name in ("vocabulary", "encode") else ())])


@pytest.fixture(
    scope="module",
    params=["compact", *(pytest.param(kind, marks=pytest.mark.slow) for kind in TOKENIZERS)],
)
def made(request: pytest.FixtureRequest, files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Kind of the vocabulary, and the folder of what tokenizations made with it; a compact one stands for Marin's."""
    kind = request.param
    package = TOKENIZERS.get(kind, "audio_tokenize")
    if importlib.util.find_spec(package.replace("-", "_")) is None:
        pytest.skip(f"needs the tokenizer that the package {package} carries")
    root = tmp_path_factory.mktemp(kind)
    lines: dict[tuple[str, ...], str] = {}
    for name in DOCUMENTS:
        recipe = TOKENIZATIONS[f"{name}-qwen3x" if kind == "qwen3x-mimi" else name]
        english = replace(recipe, produces=tuple(corpus for corpus in recipe.produces if corpus in CORPORA))
        for program, *words in map(shlex.split, english.commands):
            assert program == "audio-tokenize"
            # Each recipe begins with the vocabulary, which is that of all.
            lines.setdefault(tuple(words), name)
    # A compact vocabulary is learned from codes; they are the same for all vocabularies, and made once.
    for words in sorted(lines, key=lambda words: ("encode", "vocabulary", "build").index(words[0])):
        places = {"FILES": files / lines[words], "CODES": files / "codes", "DATA": root / "data"}
        tokenize(words, files, places, kind)
    return kind, root


@pytest.mark.long
def test_documents_are_those_that_the_recipes_describe(made: tuple[str, Path], files: Path):
    kind, root = made
    folder = VocabularyFolder.load(root / "data/vocabulary")
    begin, end = "<|begin_of_text|>", "<|end_of_text|>"
    for name, groups in DOCUMENTS.items():
        corpus = next(corpus for corpus in TOKENIZATIONS[name].produces if corpus in CORPORA)
        dataset = TokenDataset.open(root / "data" / corpus)
        strings = [DocumentTranscoder(folder).decode(document.ids) for document in dataset]
        if name == "tokenize-nemotron":
            before = " " if kind == "qwen3x-mimi" else ""
            assert sorted(strings) == sorted(f"{begin}{before}{text} {end}" for (text,) in groups)
            continue
        begins = begin * (1 if kind == "qwen3x-mimi" else 2)
        assert all(re.fullmatch(rf"({re.escape(begins)})(?!<.begin).*", string, re.DOTALL) for string in strings)
        spans = [re.findall(r"<\|(text|audio)_start\|>", string)[0] for string in strings]
        assert sorted(spans) == ["audio"] * len(groups) + ["text"] * len(groups)
        texts = [re.findall(r"<\|text_start\|>(.*?)<\|text_end\|>", string) for string in strings]
        assert sorted(texts) == sorted([*groups, *groups])
    long = max(map(len, TokenDataset.open(root / "data/yodas2/en")))
    assert long > 8 * 12.5 * LONG_SECONDS
    encoded = json.loads((files / "codes/yodas2/codes.json").read_text())
    assert encoded["max_clip_seconds"] == 60


@pytest.mark.long
def test_a_miniature_reads_them(made: tuple[str, Path], tmp_path: Path):
    """The main recipe, over all four corpora, to a model with a row for every id."""
    _, root = made
    mixture = json.dumps([{"start_fraction": 0.0, "weights": CORPORA}])
    settings = [
        f"data.mixture={mixture}",
        "steps=2",
        "intervals.evaluation=null",
        "data.mixture_block=10",
        "data.seq_len=16",
    ]
    words = ["run", "exp2.1-135m", "--scale", "smoke", "--data", str(root / "data"), "--out", str(tmp_path / "run")]
    call(audio_train, [*words, *(word for setting in settings for word in ("--set", setting))])
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    assert all(np.isfinite(line["loss"]) for line in lines)
    exported = json.loads((tmp_path / "run/export/config.json").read_text())
    assert exported["vocab_size"] == VocabularyFolder.load(root / "data/vocabulary").vocabulary.size
