"""Tokens a second of generation, against `transformers`' generate on the same weights' shape.

    .venv/bin/python benchmarks/generation.py [--rounds 5] [--batch 1 8]

One process a variant and round, pinned to one core, one thread; variants take turns; processor milliseconds a token
step, prefill of 64 tokens included. Vocabulary 144,644, width 256, 6 layers, 4 heads of 64, untied. Prints one JSON
line a process and the medians of the rounds' ratios at the end.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

VOCABULARY, PROMPT, NEW = 144_644, 64, 32
SHAPE = {"embed": 256, "mlp": 896, "layers": 6, "heads": 4, "kv_heads": 4, "head_dim": 64}
VARIANTS = ("hf-f32", "hf-bf16", "ours-f32", "ours-bf16", "ours-f32-audio", "ours-bf16-audio")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def _hf(dtype_name, batch):
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.set_num_threads(1)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=SHAPE["embed"],
        intermediate_size=SHAPE["mlp"],
        num_hidden_layers=SHAPE["layers"],
        num_attention_heads=SHAPE["heads"],
        num_key_value_heads=SHAPE["kv_heads"],
        head_dim=SHAPE["head_dim"],
        tie_word_embeddings=False,
    )
    model = Qwen3ForCausalLM(config).to(torch.bfloat16 if dtype_name == "bf16" else torch.float32).eval()
    prompt = torch.randint(0, 100_000, (batch, PROMPT))
    options = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
    with torch.inference_mode():
        return lambda: model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)


def _ours(dtype_name, batch, audio):
    import jax
    import jax.numpy as jnp
    import numpy as np

    from audio_model import Qwen3xConfig, TokenAutomaton, generate, initialize

    model = initialize(Qwen3xConfig(vocab_size=VOCABULARY, tied=False, **SHAPE), jax.random.key(0))
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 100_000, PROMPT) for _ in range(batch)]
    grammar = None
    if audio:
        codebooks = [[(128_260 + 2048 * k, 128_260 + 2048 * (k + 1))] for k in range(8)]
        grammar = TokenAutomaton.cycles(VOCABULARY, codebooks, end=128_259, minimum=100, maximum=100)
    dtype = jnp.bfloat16 if dtype_name == "bf16" else jnp.float32
    options = {"max_new_tokens": NEW, "batch_size": batch, "automaton": grammar, "dtype": dtype}
    return lambda: generate(model, prompts, **options)


def _measure(variant, batch):
    library, dtype_name, *audio = variant.split("-")
    run = _hf(dtype_name, batch) if library == "hf" else _ours(dtype_name, batch, bool(audio))
    run()
    seconds = []
    for _ in range(3):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return {"variant": variant, "batch": batch, "ms_per_step": 1000 * statistics.median(seconds) / NEW}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "BATCH"), help="measure in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_measure(arguments.one[0], int(arguments.one[1])) | {"load": os.getloadavg()[0]}))
        return
    for batch in arguments.batch:
        rounds = []
        for _ in range(arguments.rounds):
            measured = {}
            for variant in VARIANTS:
                command = ["taskset", "-c", "0", sys.executable, __file__, "--one", variant, str(batch)]
                line = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=True)
                print(line.stdout.strip().splitlines()[-1], flush=True)
                measured[variant] = json.loads(line.stdout.strip().splitlines()[-1])["ms_per_step"]
            rounds.append(measured)
        for ours, theirs in (
            ("ours-f32", "hf-f32"),
            ("ours-f32", "hf-bf16"),
            ("ours-bf16", "hf-bf16"),
            ("ours-f32-audio", "hf-f32"),
            ("ours-f32-audio", "hf-bf16"),
            ("ours-bf16-audio", "hf-bf16"),
        ):
            ratio = statistics.median(row[ours] / row[theirs] for row in rounds)
            print(json.dumps({"batch": batch, "ratio": f"{ours} / {theirs}", "median": round(ratio, 3)}), flush=True)


if __name__ == "__main__":
    main()
