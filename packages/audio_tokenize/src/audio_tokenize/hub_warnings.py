"""What the package of the Hugging Face hub says while it tries."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_hub_retries() -> Iterator[None]:
    """Keeps the hub's package from warning of every request that it tries again: the last refusal is told."""
    from huggingface_hub import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
