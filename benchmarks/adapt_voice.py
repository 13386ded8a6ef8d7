"""Adapt the quickstart's model to ten minutes of a voice that it never heard, with several seeds.

    uv run audio-train quickstart --out quickstart
    uv run python benchmarks/adapt_voice.py quickstart --out adapted [--seeds 0 1 2] [--steps 600] [--minutes 10]

Needs Debian's `flite`, which speaks new sentences of the sample corpus' templates in the voice awb. Each seed is one
`audio-train adapt --rehearse`; what is there already is not made again. Prints a table in Markdown, with the mean over
seeds and its 95 % interval (Student's t), and writes OUT/result.json.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audio_eval import find_speaker_encoder, read_evaluation
from audio_eval.speech_models import SpeakerEncoder, similarity
from audio_tokenize import load_audio, open_corpus

ROOT = Path(__file__).resolve().parents[1]
SENTENCE_SEED = 7
# Two-sided 97.5 % quantiles of Student's t, by the number of seeds.
T_QUANTILE = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
SCORES = (
    ("heldout", "tts_wer", "synthesis, new voice: word error rate"),
    ("heldout", "asr_wer", "recognition, new voice: word error rate"),
    ("heldout", "tts_ended", "synthesis that ends by itself"),
    ("heldout-base-heldout", "asr_wer", "recognition, old voices: word error rate"),
    ("heldout-base-heldout-f4", "asr_wer", "recognition, another unseen voice: word error rate"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("quickstart", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    voice = options.out / "voice"
    record(voice, options.minutes)
    results = [adapt(options.quickstart, voice, options.out, seed, options.steps) for seed in options.seeds]
    encoder = find_speaker_encoder("embedded")
    assert isinstance(encoder, SpeakerEncoder)
    voices = similarities(encoder, voice, [options.out / f"seed-{seed}" for seed in options.seeds])
    (options.out / "result.json").write_text(json.dumps({"seeds": results, "similarity": voices}, indent=1))
    print(table(results, voices))


def record(folder: Path, minutes: float) -> None:
    """Write recordings of awb with their transcripts, of sentences that the sample corpus does not have."""
    if (folder / "done").exists():
        return
    sys.path.insert(0, str(ROOT / "packages/audio_tokenize/sample_corpus"))
    from texts import english_sentences  # pyright: ignore[reportMissingImports]: a script beside the package
    from voices import Voice, speak  # pyright: ignore[reportMissingImports]: as above

    spec = ROOT / "packages/audio_tokenize/sample_corpus/english.toml"
    known = {utterance.text for utterance in open_corpus("sample")}
    drawn = english_sentences(spec, SENTENCE_SEED)
    texts = [text for text in [*drawn.heldout, *drawn.train] if text not in known]
    folder.mkdir(parents=True, exist_ok=True)
    seconds = 0.0
    for number, text in enumerate(texts):
        if seconds >= 60 * minutes:
            break
        samples = speak(Voice("awb", "flite", "awb"), text, 1.15)
        soundfile.write(folder / f"awb-{number:04d}.wav", samples, 24_000)
        (folder / f"awb-{number:04d}.txt").write_text(text)
        seconds += len(samples) / 24_000
    (folder / "done").touch()


def adapt(quickstart: Path, voice: Path, out: Path, seed: int, steps: int) -> dict[str, Any]:
    """Run one adaptation, or read the one that is there."""
    path = out / f"seed-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    words = [str(Path(sys.executable).with_name("audio-train")), "adapt", "--from", str(quickstart / "run")]
    words += ["--audio", str(voice), "--out", str(out / f"seed-{seed}"), "--steps", str(steps), "--seed", str(seed)]
    words += ["--transcriber", "embedded", "--rehearse", str(quickstart / "data"), "--json"]
    start = time.monotonic()
    process = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    outcome = json.loads(process.stdout) | {"minutes": (time.monotonic() - start) / 60}
    path.write_text(json.dumps(outcome))
    return outcome


def similarities(encoder: SpeakerEncoder, voice: Path, folders: list[Path]) -> dict[str, Any]:
    """Compare generated speech with the recorded voice; the two halves of the recordings are the reference."""
    files = sorted(voice.glob("*.wav"))[:100]
    own = np.stack(encoder.embed([load_audio(file, 24_000) for file in files], 24_000))
    halves = similarity(own[::2].mean(axis=0), own[1::2].mean(axis=0))
    center = own.mean(axis=0)

    def of(folder: Path) -> float:
        result = read_evaluation(folder).result("tts")
        assert result is not None
        clips = [load_audio(folder / str(item.detail["audio"]["generated"]), 24_000) for item in result.items]
        return float(np.mean([similarity(vector, center) for vector in encoder.embed(clips, 24_000)]))

    single = float(np.mean([similarity(vector, center) for vector in own]))
    return {
        "halves": halves,
        "recordings": single,
        "base": [of(folder / "base") for folder in folders],
        "adapted": [of(folder / "adapted") for folder in folders],
    }


def table(results: list[dict[str, Any]], voices: dict[str, Any]) -> str:
    lines = ["| score | before | after | n seeds |", "|---|---|---|---|"]
    for dataset, name, title in SCORES:
        before = [one["base"][dataset][name] for one in results]
        after = [one["adapted"][dataset][name] for one in results]
        lines.append(f"| {title} | {mean_and_interval(before)} | {mean_and_interval(after)} | {len(results)} |")
    lines.append(
        f"| similarity of generated speech to the voice (its recordings: {voices['recordings']:.3f}) | "
        f"{mean_and_interval(voices['base'])} | {mean_and_interval(voices['adapted'])} | {len(results)} |"
    )
    minutes = [one["minutes"] for one in results]
    lines += ["", f"Minutes of the whole chain: {', '.join(f'{one:.1f}' for one in minutes)}."]
    lines.append(f"Steps kept: {', '.join(str(one['step']) for one in results)}.")
    return "\n".join(lines)


def mean_and_interval(values: list[float]) -> str:
    """The mean over seeds and its 95 % interval."""
    middle = statistics.fmean(values)
    if len(values) not in T_QUANTILE:
        return f"{middle:.3f}"
    half = T_QUANTILE[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{middle:.3f} ({middle - half:.3f} to {middle + half:.3f})"


if __name__ == "__main__":
    main()
