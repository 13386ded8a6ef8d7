"""The sizes in numbers. `UPDATE_GOLDEN=1 uv run pytest packages/audio_model/tests/test_description.py` writes
the golden file.

Parameter counts are compared with the study's own table in `test_config.py`.
"""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from audio_model import SIZES, describe, extend_config, named_config
from audio_model.description import table_of_sizes

GOLDEN = Path(__file__).parent / "golden" / "sizes.json"
VOCABULARY, EXTENDED = 144_644, 168_059


def _figures(config):
    document = describe(config, seq_len=4096)
    return {name: document[name] for name in ("config", "parameters", "forward_flops_per_token")}


def _all_figures():
    figures = {
        f"{size} {'tied' if tied else 'untied'}": _figures(named_config(size, VOCABULARY, tied=tied))
        for size in SIZES
        for tied in (False, True)
    }
    for size in ("0.6b", "1.7b"):
        base = named_config(size, 151_936, tied=True)
        figures[f"{size} warm start"] = _figures(extend_config(base, EXTENDED))
    return figures


def test_sizes_are_the_golden_ones():
    figures = _all_figures()
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(figures, indent=1) + "\n")
    assert figures == json.loads(GOLDEN.read_text())


def test_a_row_of_the_table_for_every_size():
    golden = json.loads(GOLDEN.read_text())
    rows = {row["size"]: row for row in table_of_sizes(VOCABULARY)}
    assert list(rows) == list(SIZES)
    for size, row in rows.items():
        for kind in ("tied", "untied"):
            assert row[kind] == golden[f"{size} {kind}"]["parameters"]["total"]
        assert row["without_embeddings"] == golden[f"{size} tied"]["parameters"]["without_embeddings"]


def test_cost_of_the_largest_run_is_the_study_s():
    """500 billion tokens of 4B cost 1.32e22 operations by the study's formula, which takes its heads for 80 wide."""
    narrow, wide = (named_config(size, VOCABULARY).forward_flops_per_token(4096) for size in ("4b-hd80", "4b"))
    assert 3 * narrow * 500e9 == pytest.approx(1.32e22, rel=0.003)
    assert 3 * wide * 500e9 == pytest.approx(1.57e22, rel=0.003)


@pytest.mark.parametrize("tied", [True, False])
def test_shapes_sum_to_the_parameters(tied):
    config = dataclasses.replace(named_config("75m", 1000, tied=tied), layers=3)
    document = describe(config, seq_len=16)
    sizes = [int(np.prod(array["shape"])) for array in document["arrays"].values()]
    assert sum(sizes) == document["parameters"]["total"]
    assert ("head" in document["arrays"]) is not tied
