"""Train Qwen3x decoders on token records: recipes, optimizers, checkpoints, and runs that survive being killed.

A `TrainRun` says what to train, `resolve` derives every number from it, `run` trains it in a folder of its own, and a
run that was stopped or killed goes on bit for bit where its last checkpoint left it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
