"""An evaluation that waits to be killed: `killed_run.py EXPORT DATA OUT TASK RECORDS`.

After so many notes in its journal it leaves a line half written, as a kill in the middle of a write does, and waits.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import conftest

import audio_eval.journal
import audio_eval.run
import audio_eval.tasks.base
from audio_eval import evaluate, make_tasks

SETTINGS = {
    "nll": {"nll.tokens_per_batch": "128"},
    "asr": {"asr.batch_size": "1"},
    "tts": {"tts.batch_size": "1", "tts.num_items": "6", "tts.max_frames": "5"},
}


def main(export, data, out, task, records):
    left = int(records)
    record = audio_eval.journal.Journal.record

    def counted(journal, step, results):
        nonlocal left
        record(journal, step, results)
        left -= 1
        if left == 0:
            path = Path(out) / "items" / f"{task}.partial.jsonl"
            with path.open("a") as stream:
                stream.write('{"step": "sco')
            Path(out, "waiting").touch()
            time.sleep(600)

    audio_eval.journal.Journal.record = counted  # pyright: ignore[reportAttributeAccessIssue]
    audio_eval.tasks.base.load_codec = lambda name: conftest.ToyCodec()  # pyright: ignore[reportAttributeAccessIssue]: the one beside this file
    audio_eval.run.find_transcriber = lambda name: conftest.EchoTranscriber()  # pyright: ignore[reportAttributeAccessIssue]
    evaluate(export, data, ["heldout"], make_tasks([task], SETTINGS[task]), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
