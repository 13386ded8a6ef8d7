"""Document strings, codes and text to ids, against the HuggingFace tokenizer of the same vocabulary on one core.

    RAYON_NUM_THREADS=1 .venv/bin/python benchmarks/transcode.py [--rounds 9] [--cpu 0]

Process CPU seconds, pinned, variants interleaved, one JSON line a case: medians over the rounds, and the median of the
ratios of each round. Documents are random codes with English prose at 2.5 words a second; ids are compared first.
"""

import argparse
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pydoc_data.topics import topics

os.environ.setdefault("RAYON_NUM_THREADS", "1")

import numpy as np
import tokenizers
import transformers

from audio_tokenize import VocabularyFolder, codes_to_characters
from audio_tokenize.documents.strings import DocumentTranscoder
from audio_tokenize.text.huggingface_text import HuggingFaceText

PROSE = re.sub(r"\s+", " ", " ".join(topics.values())).split()
"""65,501 words, 8,831 of them different: the help texts that come with Python."""
WORDS_PER_SECOND, FRAMES_PER_SECOND = 2.5, 12.5
Variants = dict[str, Callable[[], object]]


def utterance(random: np.random.Generator, mean_seconds: float) -> tuple[str, str]:
    seconds = mean_seconds * random.uniform(0.5, 1.5)
    codes = random.integers(0, 2048, (max(1, round(seconds * FRAMES_PER_SECOND)), 8))
    num_words = max(1, round(seconds * WORDS_PER_SECOND))
    start = random.integers(0, len(PROSE) - num_words)
    text = " ".join(PROSE[start : start + num_words])
    return f"<|audio_start|>{codes_to_characters(codes)}<|audio_end|>", f"<|text_start|>{text}<|text_end|>"


def documents(num: int, num_utterances: int, mean_seconds: float, orders: int) -> list[str]:
    """Documents as published, in one order or in both, side by side."""
    random, found = np.random.default_rng(0), []
    for _ in range(num):
        parts = [utterance(random, mean_seconds) for _ in range(num_utterances)]
        both = ["".join(audio + text for audio, text in parts), "".join(text + audio for audio, text in parts)]
        found += [f"<|begin_of_text|>{order}<|end_of_text|>" for order in both[:orders]]
    return found


def measure(variants: Variants, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each variant in each round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for i in range(rounds + 1):
        for name, run in variants.items():
            start = time.process_time()
            run()
            if i:
                seconds[name].append(time.process_time() - start)
    return seconds


def report(case: str, num_tokens: int, variants: Variants, rounds: int, **more: float) -> None:
    """Prints one JSON line: Mtok a CPU second of each variant, and how many times faster than it the first one is."""
    seconds = measure(variants, rounds)
    ours = next(iter(seconds.values()))
    rates = {name: round(num_tokens / statistics.median(times) / 1e6, 2) for name, times in seconds.items()}
    ratios = {
        name: round(statistics.median(theirs / own for own, theirs in zip(ours, times, strict=True)), 2)
        for name, times in list(seconds.items())[1:]
    }
    line = {"case": case, "num_tokens": num_tokens, "mtok_per_cpu_second": rates, "times_faster_than": ratios}
    print(json.dumps({**line, **more, "load": os.getloadavg()[0]}), flush=True)


def forget(folder: VocabularyFolder) -> None:
    """Makes the next words new to the text tokenizer, as they are at the start of a corpus."""
    assert isinstance(folder.text, HuggingFaceText)
    folder.text.forget_words()


def documents_case(
    case: str, strings: Sequence[str], folder: VocabularyFolder, peer: transformers.PreTrainedTokenizerBase, rounds: int
) -> None:
    backend: tokenizers.Tokenizer = peer.backend_tokenizer
    transcoder = DocumentTranscoder(folder)
    texts = [piece for cut in transcoder.cut_batch(strings) for piece in cut.pieces if isinstance(piece, str)]
    ids = transcoder.encode_batch(strings)
    if [found.tolist() for found in ids] != peer(strings, add_special_tokens=False)["input_ids"]:
        raise SystemExit(f"{case}: ids differ from those of transformers")
    num_tokens = sum(map(len, ids))
    report(
        case,
        num_tokens,
        {
            "ours": lambda: transcoder.encode_batch(strings),
            "transformers": lambda: peer(strings, add_special_tokens=False)["input_ids"],
            "encode_batch": lambda: [found.ids for found in backend.encode_batch(strings, add_special_tokens=False)],
            "encode_batch_fast": lambda: [
                found.ids for found in backend.encode_batch_fast(strings, add_special_tokens=False)
            ],
            "ours, no word met before": lambda: (forget(folder), transcoder.encode_batch(strings)),
            "its text alone": lambda: folder.text.encode_batch(texts),
        },
        rounds,
        text_share=round(sum(map(len, folder.text.encode_batch(texts))) / num_tokens, 4),
    )


def text_case(
    case: str, texts: list[str], folder: VocabularyFolder, backend: tokenizers.Tokenizer, rounds: int
) -> None:
    report(
        case,
        sum(map(len, folder.text.encode_batch(texts))),
        {
            "ours": lambda: folder.text.encode_batch(texts),
            "ours, no word met before": lambda: (forget(folder), folder.text.encode_batch(texts)),
            "encode_batch": lambda: [found.ids for found in backend.encode_batch(texts, add_special_tokens=False)],
            "encode_batch_fast": lambda: [
                found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)
            ],
        },
        rounds,
    )


def codes_case(num_frames: int, folder: VocabularyFolder, rounds: int) -> None:
    codes = np.random.default_rng(0).integers(0, 2048, (num_frames, 8)).astype(np.uint16)
    repeats = max(1, 4_000_000 // codes.size)
    vocabulary = folder.vocabulary

    def run() -> None:
        for _ in range(repeats):
            vocabulary.audio_ids(codes)

    report(f"codes to ids, {num_frames / FRAMES_PER_SECOND:g} s", codes.size * repeats, {"ours": run}, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cpu", type=int, default=0)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.cpu})
    folder = VocabularyFolder.marin_mimi("llama-models")
    with tempfile.TemporaryDirectory() as saved:
        folder.save(saved)
        peer = transformers.AutoTokenizer.from_pretrained(saved)
    for seconds in (10, 3600):
        codes_case(round(seconds * FRAMES_PER_SECOND), folder, arguments.rounds)
    cases = {
        "videos of 40 utterances of 5 s, both orders": documents(6, 40, 5, 2),
        "videos of 40 utterances of 5 s, one order": documents(12, 40, 5, 1),
        "utterances of 12 s, both orders": documents(64, 1, 12, 2),
        "utterances of 5 s, both orders": documents(64, 1, 5, 2),
    }
    for case, strings in cases.items():
        documents_case(case, strings, folder, peer, arguments.rounds)
    pages = [" ".join(PROSE[i : i + 400]) for i in range(0, len(PROSE) - 400, 50)]
    text_case("texts of 400 words", pages, folder, peer.backend_tokenizer, arguments.rounds)
    lines = [" ".join(PROSE[i : i + 12]) for i in range(0, len(PROSE) - 12, 7)]
    text_case("texts of 12 words", lines, folder, peer.backend_tokenizer, arguments.rounds)


if __name__ == "__main__":
    main()
