"""Weights of the small speech models that ship with the package."""

import functools
import hashlib
import importlib.resources

from audio_data import InputError

_SHA256 = {
    "speaker.safetensors": "59cdad45bbd47ddaa06d7d0b4f87f883b3b333f641ade56ff8a55447ce99654b",
    "transcriber.safetensors": "1c7149530771fc5cf9541e5515a8e8637d1a5e4280c773f0a29cbcacd1757b5c",
}


@functools.cache
def shipped_weights(name: str) -> bytes:
    """Read a file of weights that ships with the package.

    Args:
        name: Name of the file.

    Raises:
        InputError: It is missing or not as it was shipped.
    """
    file = importlib.resources.files("audio_eval.speech_models").joinpath(name)
    content = file.read_bytes() if file.is_file() else b""
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256[name]:
        raise InputError(
            f"`{file}` must have the SHA-256 {_SHA256[name]} that it was shipped with, got {found!r}: install "
            "audio-eval again"
        )
    return content
