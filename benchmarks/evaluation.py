"""Evaluation against the loop that people write: one item at a time through transformers, on the same weights.

    python benchmarks/evaluation.py [--items 96]

Scores the same documents, and continues the same prompts greedily to the same length, by both; both answers are
compared. Compilation is counted apart, since it is paid once for a test set of any size.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}

import jax
import numpy as np
import torch
import transformers

from audio_data import Vocabulary
from audio_eval.decoding import continue_prompts
from audio_eval.scoring import scored_documents
from audio_model import Qwen3xConfig, Sampling, TokenSets, initialize, save_model

NEW_TOKENS = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=96)
    items = parser.parse_args().items
    vocabulary = Vocabulary.compact("benchmark", 384, "codec", 8, 512, "text")
    config = Qwen3xConfig(
        vocab_size=vocabulary.size,
        embed=256,
        mlp=768,
        layers=6,
        heads=4,
        kv_heads=2,
        head_dim=64,
        tied=True,
        max_seq_len=1_024,
    )
    model = initialize(config, jax.random.key(0))
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), model)
        peer = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.set_num_threads(1)
    print(f"{config.num_parameters / 1e6:.1f} M parameters, {items} items")
    rng = np.random.default_rng(0)
    sets = TokenSets.build(vocabulary.allowed_sets)
    # Words of 0.4 to 1.2 s as sWUGGY's, sentences of 1 to 4 s as sBLIMP's, of eight codebooks.
    for kind, (shortest, longest) in (("words", (5, 15)), ("sentences", (12, 50))):
        documents = []
        for _ in range(items):
            codes = rng.integers(0, 512, (int(rng.integers(shortest, longest)), 8))
            ids = [vocabulary.begin_of_text, vocabulary.audio_start, *vocabulary.audio_ids(codes), vocabulary.audio_end]
            documents.append(np.array(ids, np.int32))
        score(kind, model, peer, documents, sets)
    prompts = [np.append(ids, vocabulary.text_start).astype(np.int32) for ids in documents]
    generate(model, peer, prompts)


def score(kind, model, peer, documents, sets) -> None:
    start = time.process_time()
    theirs = []
    with torch.no_grad():
        for ids in documents:
            tokens = torch.from_numpy(ids).long()
            table = torch.log_softmax(peer(tokens[None]).logits[0, :-1], dim=-1)
            theirs.append(table[torch.arange(len(ids) - 1), tokens[1:]].numpy())
    loop = time.process_time() - start

    def ours():
        return dict(scored_documents(model, documents, sets, softmax="full"))

    first = timed(ours)[0]
    seconds, found = timed(ours)
    report(f"likelihood of {kind}", len(documents), loop, seconds, first)
    difference = max(
        np.abs(one.full - other).max()
        for one, other in zip((found[i] for i in range(len(theirs))), theirs, strict=True)
    )
    print(f"  greatest difference of a token: {difference:.1e} nats")


def generate(model, peer, prompts) -> None:
    def ours():
        return continue_prompts(
            model,
            prompts,
            automaton=None,
            stop_id=0,
            sampling=Sampling(temperature=0.0),
            max_new_tokens=NEW_TOKENS,
            batch_size=32,
            label="generate",
        )

    start = time.process_time()
    theirs = []
    with torch.no_grad():
        for ids in prompts:
            tokens = torch.from_numpy(ids).long()[None]
            out = peer.generate(tokens, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=0, pad_token_id=0)
            theirs.append([token for token in out[0, len(ids) :].tolist() if token != 0])
    loop = time.process_time() - start
    first = timed(ours)[0]
    seconds, found = timed(ours)
    report("generation", len(prompts), loop, seconds, first)
    equal = sum(one.tolist() == other for one, other in zip(found, theirs, strict=True))
    print(f"  same continuation: {equal} of {len(prompts)}")


def timed(work):
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def report(what: str, items: int, loop: float, ours: float, first: float) -> None:
    print(
        f"{what}: loop {items / loop:.1f} items/s, audio-eval {items / ours:.1f} items/s ({loop / ours:.1f}x; "
        f"{loop / first:.1f}x with compilation, {first - ours:.1f} s of it)"
    )


if __name__ == "__main__":
    main()
