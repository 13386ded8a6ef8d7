"""Killed at any moment, a job goes on as if it had never been disturbed."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audio_tokenize.corpora import open_corpus
from audio_tokenize.encoding import clips
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.waveform import load_audio

CONFTEST = str(Path(__file__).parents[1] / "conftest.py")
PROGRAM = str(Path(sys.executable).with_name("audio-tokenize"))

KILLED_AT_EVERY_FILE = """
import os, pathlib, runpy, signal, sys

conftest, speech, out = sys.argv[1:]
from audio_tokenize.corpora import open_corpus
from audio_tokenize.encoding.jobs import encode_corpus

codec, corpus = runpy.run_path(conftest)["TinyCodec"](), open_corpus(pathlib.Path(speech) / "manifest.jsonl")
replace = os.replace


def die_at(number, after):
    def renaming(*names):
        nonlocal number
        number -= 1
        if number or after:
            replace(*names)
        if not number:
            os.kill(os.getpid(), signal.SIGKILL)
    return renaming


num_killed, seen = 0, set()
while num_killed < 80:
    child = os.fork()
    if not child:
        # At the first, second or third file of the run, before or after it gets its name, in turn.
        os.replace = die_at(1 + num_killed // 2 % 3, after=num_killed % 2)
        encode_corpus(corpus, codec, out, num_frame_offsets=2, utterances_per_shard=4, seconds_per_chunk=0.1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        break
    num_killed += 1
    seen |= set(os.listdir(out))
print(num_killed, status, sum("part-" in name and name[0] != "." for name in seen))
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.long
def test_killed_at_any_file_it_is_as_if_never_killed(tmp_path: Path, speech, corpus, codec):
    command = [sys.executable, "-W", "ignore", "-c", KILLED_AT_EVERY_FILE, CONFTEST, str(speech)]
    killed = subprocess.run(
        [*command, str(tmp_path / "killed")], capture_output=True, text=True, timeout=60, check=False
    )
    assert not killed.returncode, killed.stderr
    num_killed, status, num_parts = map(int, killed.stdout.split())
    assert num_killed >= 10
    assert status == 0, killed.stderr
    assert num_parts >= 5, "every utterance was a part of its own, but for the last of a shard"
    encode_corpus(corpus, codec, tmp_path / "whole", num_frame_offsets=2, utterances_per_shard=4)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


KILLED_AT_RANDOM = """
import os, random, signal, sys, time
from pathlib import Path

import audio_tokenize.codecs.embedded
from audio_tokenize.corpora import open_corpus
from audio_tokenize.encoding.jobs import encode_corpus

out, corpus = Path(sys.argv[1]), open_corpus("sample-multilingual").select(language="en")


def start(folder):
    child = os.fork()
    if not child:
        encode_corpus(corpus, "embedded", folder, num_frame_offsets=6, utterances_per_shard=40, seconds_per_chunk=2.0)
        os._exit(0)
    return child


began = time.monotonic()
assert os.waitpid(start(out / "whole"), 0)[1] == 0
undisturbed, moments = time.monotonic() - began, random.Random(7)
num_killed, number, seen = 0, 0, set()
while num_killed < 10 or not (out / str(number) / "codes.json").is_file():
    child, folder = start(out / str(number)), out / str(number)
    if num_killed < 10:
        time.sleep(moments.uniform(0.1, 0.5) * undisturbed)
        os.kill(child, signal.SIGKILL)
    num_killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    seen |= set(os.listdir(folder)) if folder.is_dir() else set()
    # One that gets to its end all the same is compared too, and the killing goes on with another.
    number += num_killed < 10 and (folder / "codes.json").is_file()
print(num_killed, sum("part-" in name and name[0] != "." for name in seen), number + 1)
"""


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(tmp_path: Path):
    """Kills by the clock, so that reading, encoding, writing and renaming are all hit."""
    command = [sys.executable, "-W", "ignore", "-c", KILLED_AT_RANDOM, str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not killed.returncode, killed.stderr
    num_killed, num_parts, num_folders = map(int, killed.stdout.split())
    assert num_killed == 10
    assert num_parts, "some kills must leave a part of a shard behind"
    corpus = open_corpus("sample-multilingual").select(language="en")
    expected = [(u.id, frame_offset) for u in corpus for frame_offset in range(6 if u.split == "train" else 1)]
    for number in range(num_folders):
        assert [(u.id, u.frame_offset) for u in EncodedCorpus.open(tmp_path / str(number))] == expected
        assert contents(tmp_path / str(number)) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_the_command_is_killed_ten_times_over_the_sample_corpus(tmp_path: Path):
    """As a scheduler does it to the command line: two and a half hours of speech, every process killed for good."""
    words = [PROGRAM, "encode", "sample", "--max-clip-seconds", "2", "--out"]
    began, moments = time.monotonic(), random.Random(7)
    subprocess.run([*words, tmp_path / "whole"], check=True, capture_output=True)
    undisturbed = time.monotonic() - began
    num_killed = 0
    while num_killed < 10:
        process = subprocess.Popen([*words, tmp_path / "killed"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.06, 0.15) * undisturbed)
        process.kill()
        num_killed += process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "codes.json").exists(), "the kills were meant to come before the end"
    subprocess.run([*words, tmp_path / "killed"], check=True, capture_output=True)
    assert [u.id for u in EncodedCorpus.open(tmp_path / "killed")] == [u.id for u in open_corpus("sample")]
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_what_is_done_is_not_read_again(tmp_path: Path, corpus, codec, monkeypatch):
    """Entries that a part on disk took are passed over without a look at their audio."""
    opened: list[str] = []

    def stop_after(number):
        def loading(source, *arguments):
            opened.append(f"{source.name}{arguments[1]}")
            if len(opened) > number:
                raise KeyboardInterrupt
            return load_audio(source, *arguments)

        return loading

    monkeypatch.setattr(clips, "load_audio", stop_after(3))
    with pytest.raises(KeyboardInterrupt):
        encode_corpus(corpus, codec, tmp_path, seconds_per_chunk=0.1)
    parts = [path.name for path in tmp_path.glob("*.part-*")]
    assert len(parts) in (1, 2, 3)
    opened.clear()
    monkeypatch.setattr(clips, "load_audio", stop_after(99))
    manifest = encode_corpus(corpus, codec, tmp_path)
    assert manifest is not None
    assert len(opened) == len(corpus) - len(parts)
    assert manifest.num_utterances == len(corpus)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "codes.json",
        "inputs.json",
        "plan.json",
        "shard-00000.arrayrecord",
        "shard-00000.json",
    ]
