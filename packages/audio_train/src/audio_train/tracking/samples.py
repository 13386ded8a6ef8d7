"""Audio samples of a run for its trackers. What makes them is an entry point of another package, with the codec."""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audio_data import InputError, TokenDataset

SAMPLER_GROUP = "audio_train.samplers"
"""Group of entry points; each is a `Sampler`."""

Sample = tuple[str, str, Float32[np.ndarray, " samples"], int]
"""Name, caption, mono samples in -1..1, and their rate in Hz."""
Sampler = Callable[[Path, Mapping[str, TokenDataset], int], Iterable[Sample]]
"""Makes samples with an exported model: from its folder, held-out datasets by name, and their number."""


def find_sampler() -> Sampler:
    """Return the sampler of the first entry point, by name.

    Raises:
        InputError: There is none.
    """
    found = sorted(entry_points(group=SAMPLER_GROUP), key=lambda point: point.name)
    if not found:
        raise InputError(
            "`--track-audio` must have a package that generates audio, such as audio-eval, got none: run "
            "`uv sync --all-packages` in a checkout of this project"
        )
    return found[0].load()
