"""Token records on disk, and the batches a model trains on: integers in, integers out.

A `Vocabulary` says what an id means, a `Document` is a sequence of ids, a `DatasetWriter` turns documents into checked
shards, a `TokenDataset` reads any token of them, and a `BatchLoader` mixes datasets into batches that are a pure
function of the step.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
