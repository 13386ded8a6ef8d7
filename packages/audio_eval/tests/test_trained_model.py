"""Does a trained model listen? `audio-train quickstart`, then `pytest -m slow -k right_audio packages/audio_eval`.

`QUICKSTART` names the quickstart's folder where it is not `quickstart` in the working directory.
"""

import os
from pathlib import Path

import pytest

from audio_eval import evaluate, make_tasks

FOLDER = Path(os.environ.get("QUICKSTART", "quickstart"))


@pytest.mark.slow
@pytest.mark.skipif(not (FOLDER / "run" / "export").is_dir(), reason=f"`{FOLDER}` holds no run: audio-train quickstart")
def test_the_right_audio_saves_errors_and_nats_beyond_doubt(tmp_path):
    tasks = make_tasks(["nll", "asr"], {"asr.num_kept_audio": "0"})
    evaluation = evaluate(FOLDER / "run", FOLDER / "data", ["heldout"], tasks, tmp_path, transcriber="none", limit=60)
    scores = evaluation.summary()["heldout"]
    saved = scores["asr_wer_reduction_over_mismatched_audio"]
    assert saved["num_items"] == 60
    # Paired: the same utterances' errors with another one's audio, minus those with their own.
    assert 0 < saved["low"] < saved["value"] < saved["high"]
    difference = scores["asr_wer_mismatched_audio"]["value"] - scores["asr_wer"]["value"]
    assert saved["value"] == pytest.approx(difference)
    assert scores["text_nll_with_over_without_audio"]["high"] < 1
