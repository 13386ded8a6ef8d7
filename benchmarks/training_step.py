"""One training step, forward, backward and AdamW, against `transformers` + torch; and the loss by itself.

    .venv/bin/python benchmarks/training_step.py [step] [loss] [--rounds 5] [--cpu 0]

One process a variant and round, pinned to one core, one thread; variants take turns; processor seconds, the median of
a process's steps after one that compiles or warms up. Vocabulary 144,644, width 256, feed-forward 896, 6 layers, 4
heads of 64, untied, 2 rows of 512 tokens, the same constants of AdamW. `step`: whole steps; torch runs its fused AdamW,
the fastest it has, and in `hf-bf16-unfused` its default one; `ours-grammar` takes the softmax inside the grammar's
sets, on windows of which 95 % are audio. `loss`: output layer and cross-entropy alone,
values and both gradients, and the compiler's figure for its temporary memory. Prints one JSON line a process and the
medians of the rounds' ratios.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

VOCABULARY, BATCH, SEQ = 144_644, 2, 512
SHAPE = {"embed": 256, "mlp": 896, "layers": 6, "heads": 4, "kv_heads": 4, "head_dim": 64}
LEARNING_RATE, BETAS, EPSILON, DECAY = 1e-3, (0.9, 0.95), 1e-8, 0.1
TEXT_IDS, CODEBOOKS, CODEBOOK_SIZE, AUDIO_FRACTION = 128_260, 8, 2048, 0.95
STEP = ("hf-f32", "hf-bf16", "hf-bf16-unfused", "ours-f32", "ours-bf16", "ours-grammar-f32", "ours-grammar-bf16")
LOSS = ("naive-f32", "fused-f32", "naive-bf16", "fused-bf16")
RATIOS = {
    "step": (
        ("ours-f32", "hf-f32"),
        ("ours-bf16", "hf-bf16"),
        ("ours-bf16", "hf-bf16-unfused"),
        ("ours-bf16", "hf-f32"),
        ("ours-grammar-f32", "hf-f32"),
        ("ours-grammar-bf16", "hf-f32"),
        ("ours-grammar-bf16", "hf-bf16"),
    ),
    "loss": (("fused-f32", "naive-f32"), ("fused-bf16", "naive-bf16"), ("fused-bf16", "naive-f32")),
}
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "NPROC": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def draw_tokens():
    """Rows that are mostly frames of audio, codebook by codebook, after a stretch of text."""
    import numpy as np

    rng = np.random.default_rng(0)
    text = round(SEQ * (1 - AUDIO_FRACTION))
    book = np.arange(SEQ - text) % CODEBOOKS
    audio = TEXT_IDS + CODEBOOK_SIZE * book + rng.integers(0, CODEBOOK_SIZE, (BATCH, SEQ - text))
    return np.concatenate([rng.integers(0, TEXT_IDS, (BATCH, text)), audio], axis=1).astype(np.int32)


def hf_step(dtype_name, fused):
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
        use_cache=False,
        attn_implementation="eager",
    )
    model = Qwen3ForCausalLM(config).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, weight_decay=DECAY, fused=fused
    )
    tokens = torch.from_numpy(draw_tokens()).long()

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype_name == "bf16"):
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step, {}


def grammar_sets():
    from audio_model import TokenSets

    books = [(TEXT_IDS + CODEBOOK_SIZE * k, TEXT_IDS + CODEBOOK_SIZE * (k + 1)) for k in range(CODEBOOKS)]
    return TokenSets.build([[(0, TEXT_IDS)], *([book] for book in books)])


def our_step(dtype_name, sets):
    import jax
    import jax.numpy as jnp
    import optax

    from audio_model import Qwen3xConfig, grammar_cross_entropy, initialize, linear_cross_entropy

    config = Qwen3xConfig(vocab_size=VOCABULARY, tied=False, **SHAPE)
    optimizer = optax.adamw(LEARNING_RATE, *BETAS, EPSILON, weight_decay=DECAY)
    tokens = jnp.asarray(draw_tokens())
    positions = jnp.broadcast_to(jnp.arange(SEQ)[None], tokens.shape)
    segment_ids = jnp.ones_like(tokens)
    targets, mask = jnp.roll(tokens, -1, axis=1).reshape(-1), (positions < SEQ - 1).reshape(-1)
    dtype = jnp.bfloat16 if dtype_name == "bf16" else jnp.float32

    def mean_loss(model):
        hidden = model(tokens, segment_ids, positions, dtype=dtype).reshape(-1, config.embed)
        if sets is None:
            loss, _ = linear_cross_entropy(hidden, model.head_matrix, targets)
        else:
            loss, _ = grammar_cross_entropy(hidden, model.head_matrix, targets, sets, mask=mask)
        return jnp.sum(jnp.where(mask, loss, 0.0)) / jnp.sum(mask)

    def train(state):
        model, moments = state
        loss, gradient = jax.value_and_grad(mean_loss)(model)
        updates, moments = optimizer.update(gradient, moments, model)
        return (optax.apply_updates(model, updates), moments), loss

    model = initialize(config, jax.random.key(0))
    state = (model, optimizer.init(model))
    program = jax.jit(train, donate_argnums=0).lower(state).compile()

    def step():
        nonlocal state
        state, loss = program(state)
        return float(loss)

    return step, {"temporary_mb": program.memory_analysis().temp_size_in_bytes / 1e6}


def loss_alone(form, dtype_name):
    import jax
    import jax.numpy as jnp

    from audio_model.kernels.linear_cross_entropy import linear_cross_entropy

    dtype = jnp.bfloat16 if dtype_name == "bf16" else jnp.float32
    keys = jax.random.split(jax.random.key(0), 2)
    hidden = jax.random.normal(keys[0], (BATCH * SEQ, SHAPE["embed"]), jnp.float32).astype(dtype)
    head = jax.random.normal(keys[1], (VOCABULARY, SHAPE["embed"]), jnp.float32) * SHAPE["embed"] ** -0.5
    targets = jnp.asarray(draw_tokens()).reshape(-1)

    def mean_loss(hidden, head):
        implementation = "reference" if form == "naive" else None
        return jnp.mean(linear_cross_entropy(hidden, head, targets, implementation=implementation)[0])

    program = jax.jit(jax.value_and_grad(mean_loss, argnums=(0, 1))).lower(hidden, head).compile()

    def step():
        loss, _ = jax.block_until_ready(program(hidden, head))
        return float(loss)

    return step, {"temporary_mb": program.memory_analysis().temp_size_in_bytes / 1e6}


def measure(variant, steps):
    parts = variant.split("-")
    if parts[0] in ("naive", "fused"):
        step, figures = loss_alone(*parts)
    elif parts[0] == "hf":
        step, figures = hf_step(parts[1], fused="unfused" not in parts)
    else:
        step, figures = our_step(parts[-1], grammar_sets() if "grammar" in parts else None)
    losses = [step()]
    seconds = []
    for _ in range(steps):
        started = time.process_time()
        losses.append(step())
        seconds.append(time.process_time() - started)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {
        "variant": variant,
        "cpu_seconds": round(statistics.median(seconds), 4),
        "peak_rss_mb": round(peak_mb),
        "first_loss": round(losses[0], 4),
        "last_loss": round(losses[-1], 4),
        "load": os.getloadavg()[0],
    } | {name: round(value, 1) for name, value in figures.items()}


def compare(what, rounds, steps, cpu):
    taken = []
    for _ in range(rounds):
        row = {}
        for variant in STEP if what == "step" else LOSS:
            command = ["taskset", "-c", str(cpu), sys.executable, __file__, "--one", variant, "--steps", str(steps)]
            line = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=True)
            row[variant] = json.loads(line.stdout.strip().splitlines()[-1])
            print(json.dumps(row[variant]), flush=True)
        taken.append(row)
    for ours, theirs in RATIOS[what]:
        ratio = statistics.median(row[ours]["cpu_seconds"] / row[theirs]["cpu_seconds"] for row in taken)
        print(json.dumps({"ratio": f"{ours} / {theirs}", "median": round(ratio, 3)}), flush=True)
    if what == "loss":
        for name in ("f32", "bf16"):
            fraction = taken[0][f"fused-{name}"]["temporary_mb"] / taken[0][f"naive-{name}"]["temporary_mb"]
            print(json.dumps({"temporary memory": f"fused / naive, {name}", "ratio": round(fraction, 4)}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[[], "step", "loss"], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--cpu", type=int, default=0)
    parser.add_argument("--one", metavar="VARIANT", help="measure in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.steps)))
        return
    for what in arguments.what or ("step", "loss"):
        compare(what, arguments.rounds, arguments.steps, arguments.cpu)


if __name__ == "__main__":
    main()
