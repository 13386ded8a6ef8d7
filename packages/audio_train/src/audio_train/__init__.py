"""Train Qwen3x decoders on token records: recipes, optimizers, checkpoints, and runs that resume after a kill.

A `TrainRun` describes a training run, `resolve` derives every number from it, and `run` trains it in its own folder. A
run that was stopped or killed resumes from its last checkpoint with bit-identical losses and weights.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
