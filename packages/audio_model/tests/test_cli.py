import json
import subprocess
import sys

import equinox as eqx
import jax
import numpy as np
import pytest
from click.testing import CliRunner

from audio_model import extend_vocabulary, generate, load_model, save_model
from audio_model.cli import main


@pytest.fixture
def invoke():
    return lambda *arguments: CliRunner().invoke(main, arguments)


def test_describe_a_size(invoke):
    result = invoke("describe", "4B", "--json")
    document = json.loads(result.stdout)
    assert document["parameters"] == {
        "total": 4_374_089_216,
        "without_one_embedding": 4_003_800_576,
        "without_embeddings": 3_633_511_936,
    }
    arrays = document["arrays"]
    assert arrays["layers.query"] == {"shape": [36, 2560, 4096], "axes": ["layers", "embed", "heads"]}
    assert sum(int(np.prod(array["shape"])) for array in arrays.values()) == document["parameters"]["total"]
    assert json.loads(invoke("describe", "600m", "--json").stdout)["parameters"]["total"] == 736_698_368
    lines = [line.split() for line in invoke("describe", "4b").stdout.splitlines()]
    assert ["parameters,", "without", "embeddings", "3,633,511,936"] in lines


def test_describe_counts_memory_at_a_batch(invoke):
    arguments = ("describe", "135m", "--batch", "8", "--seq-len", "1024", "--dtype", "float32", "--remat", "full")
    memory = json.loads(invoke(*arguments, "--json").stdout)["memory"]
    assert (memory["batch"], memory["seq_len"], memory["dtype"]) == (8, 1024, "float32")
    assert memory["optimizer_bytes"] == 8 * 205_149_568
    # The input of each of 15 blocks, 512 wide, and less than as much again around them.
    assert 1 < memory["kept_for_backward_bytes"] / (15 * 8 * 1024 * 512 * 4) < 2
    line = next(line for line in invoke(*arguments).stdout.splitlines() if line.startswith("memory, training"))
    assert line.split()[2:4] == [f"{memory['training_bytes'] / 1e9:,.3f}", "GB"]


def test_describe_all_sizes(invoke):
    assert len(json.loads(invoke("describe", "--json").stdout)) == 11
    assert len(invoke("describe").stdout.splitlines()) == 12


def test_generate_equals_the_python_call(invoke, tiny, tmp_path):
    save_model(tmp_path, tiny)
    arguments = ("generate", str(tmp_path), "1 2 3", "4,5", "--max-new-tokens", "5")
    expected = generate(tiny, [np.array([1, 2, 3]), np.array([4, 5])], max_new_tokens=5, batch_size=2)
    assert json.loads(invoke(*arguments, "--json").stdout) == [x.tolist() for x in expected]
    assert invoke(*arguments).stdout.splitlines()[1] == " ".join(str(x) for x in expected[1])
    assert json.loads(invoke("describe", str(tmp_path), "--json").stdout)["config"]["embed"] == 24


def test_extend_then_convert_equal_the_python_calls(invoke, tiny, tmp_path):
    save_model(tmp_path / "base", tiny)
    arguments = (str(tmp_path / "base"), "--out", str(tmp_path / "wide"), "--vocabulary-size", "120")
    result = invoke("extend", *arguments, "--num-copied", "90", "--seed", "4", "--json")
    document = json.loads(result.stdout)
    assert (document["num_copied"], document["num_new"], document["vocab_size"]) == (90, 30, 120)
    expected = extend_vocabulary(tiny, 120, num_copied=90, key=jax.random.key(4))
    assert eqx.tree_equal(load_model(tmp_path / "wide"), expected)
    result = invoke("convert", str(tmp_path / "wide"), "--out", str(tmp_path / "half"), "--dtype", "bfloat16")
    assert result.stdout == f"{tmp_path / 'half'}: {expected.config.num_parameters:,} parameters, 120 ids, bfloat16\n"
    assert (tmp_path / "half/model.safetensors").stat().st_size < 2 * expected.config.num_parameters + 10_000


def test_bench_reports_consistent_figures(invoke, tiny, tmp_path):
    save_model(tmp_path, tiny)
    arguments = ("bench", str(tmp_path), "--seq-len", "16", "--batch", "2", "--steps", "2", "--loss", "grammar")
    document = json.loads(invoke(*arguments, "--json").stdout)
    assert document["tokens_per_second"] == pytest.approx(32 / document["step_seconds"])
    assert document["temporary_bytes"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("describe", "9z"), "`size` must be one of"),
        (("describe", "./nowhere"), "there is no folder './nowhere'"),
        (("generate", "nowhere", "1"), "must be a folder with a config.json"),
        (("generate", "nowhere", "1", "--seed", "-1"), "`seed` must lie in"),
        (("generate", "nowhere", "one"), "`PROMPTS` must be token ids"),
        (("convert", "./nowhere", "--out", "out"), "must be a folder or a hub id OWNER/NAME"),
        (("extend", "./nowhere", "--out", "out"), "must be a folder or a hub id OWNER/NAME"),
    ],
)
def test_mistakes_end_in_one_line_and_status_2(invoke, arguments, message):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_help_loads_no_jax():
    program = """
import sys
from audio_model.cli import main
main(["--help"], standalone_mode=False)
assert "jax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
