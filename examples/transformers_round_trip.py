"""Write a model as a folder, open it in transformers, compare the logits, and read back what transformers writes.

    uv run python examples/transformers_round_trip.py OUT

Needs audio-model; the comparison needs torch and transformers (`uv pip install torch transformers`).
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from audio_model import Qwen3xConfig, RopeConfig, initialize, load_model, save_model

out = Path(sys.argv[1])
rope = RopeConfig(scaling=None)
config = Qwen3xConfig(
    vocab_size=512, embed=64, mlp=128, layers=2, heads=4, kv_heads=2, head_dim=16, tied=True, rope=rope
)
model = initialize(config, jax.random.key(0))
save_model(out / "ours", model)
print("wrote", *sorted(path.name for path in (out / "ours").iterdir()))

tokens = np.random.default_rng(0).integers(config.vocab_size, size=(2, 40))
ids = jnp.asarray(tokens, jnp.int32)
positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
logits = np.asarray(model.logits(model(ids, jnp.ones_like(ids), positions)))

try:
    import torch
    import transformers
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is not installed: nothing to compare with")

theirs = transformers.AutoModelForCausalLM.from_pretrained(out / "ours", dtype=torch.float32)
with torch.no_grad():
    difference = np.abs(logits - theirs(torch.tensor(tokens)).logits.numpy()).max()
print(f"{type(theirs).__name__}: largest difference of a logit {difference:.1e} of {np.abs(logits).max():.2f}")

theirs.save_pretrained(out / "theirs")
equal = jax.tree.map(lambda one, other: bool((one == other).all()), model, load_model(out / "theirs"))
print("weights after both ways:", "equal" if all(jax.tree.leaves(equal)) else "different")
