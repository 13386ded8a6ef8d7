"""The Qwen3x decoder in Equinox: losses that never hold all logits, generation under token grammars, weights.

The package is a leaf: it knows integers, not audio. `Qwen3x` maps token ids to hidden states, the
kernels under `audio_model.kernels` turn hidden states into per-token losses, `generate` samples under
a `TokenAutomaton`, `save_model` and `load_model` speak the Hugging Face Qwen3 format.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
