"""Job files and documents say commands that exist: every `audio-train` line of theirs is parsed by the command line."""

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from audio_train.cli import main
from audio_train.hardware import parse_slice

ROOT = Path(__file__).resolve().parents[3]
LAUNCH = ROOT / "examples" / "launch"


def parse(words: list[str]) -> None:
    """Parse a command's words without running it."""
    # A command remembers the name of its help option from the first context it is given: that of its group.
    group = click.Context(main, **main.context_settings)
    main.commands[words[0]].make_context(words[0], words[1:], parent=group)


def commands(text: str) -> list[list[str]]:
    joined = text.replace("\\\n", " ")
    found = re.findall(r"audio-train ((?:run|resume|plan|export) [^\n`]*)", joined)
    return [shlex.split(line.split("#")[0].rstrip('"')) for line in found]


@pytest.mark.parametrize("name", ["docs/launching.md", "examples/launch/xpk.sh", "examples/launch/skypilot.yaml"])
def test_every_command_is_one(name: str):
    found = commands((ROOT / name).read_text())
    assert found
    for words in found:
        parse(words)


def test_a_job_set_has_a_process_for_every_host_of_its_slice():
    job = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    work = job["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = work["template"]["spec"]
    (container,) = pod["containers"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert container["resources"]["requests"]["google.com/tpu"] == chips
    where = parse_slice("v5p-128")
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == where.topology.split(":")[1]
    assert work["completions"] == work["parallelism"] == where.num_devices // chips
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    parse([*container["command"][1:], *container["args"]])


def test_a_word_that_is_no_option_would_be_found():
    with pytest.raises(click.NoSuchOption):
        parse(["run", "quickstart", "--data", "d", "--out", "o", "--proceses", "2"])


def test_the_managed_job_mounts_what_it_reads_and_writes():
    job = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    (mount,) = job["file_mounts"]
    (words,) = commands(job["run"])
    folders = [words[words.index(option) + 1] for option in ("--data", "--out")]
    assert all(folder.startswith(mount) for folder in folders)
    assert "--distributed" in words
    assert set(re.findall(r"\$(\w+)", job["run"])) == set(job["envs"])
