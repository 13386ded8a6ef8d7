"""From a codec's name to the codec."""

from pathlib import Path

from audio_data import InputError
from audio_tokenize.codecs.base import AbstractCodec


def load_codec(name: str) -> AbstractCodec:
    """Load a codec by name.

    Args:
        name: "embedded" for the one whose weights ship with the package, or the path of a weights file in its format
            (`*.safetensors`), as `audio-tokenize train-codec` writes it.

    Raises:
        InputError: If there is no such codec, or its weights cannot be read.
    """
    from audio_tokenize.codecs.embedded import load_embedded

    if name == "embedded":
        return load_embedded()
    if name.endswith(".safetensors"):
        return load_embedded(Path(name))
    raise InputError(f"expected `codec` to be 'embedded' or a path ending in .safetensors, got {name!r}")
