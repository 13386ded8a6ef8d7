"""From what names a codec to the codec."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_data import InputError
from audio_tokenize.codecs.base import AbstractCodec


@dataclass(frozen=True)
class CodecSpec:
    """Names a codec and everything its codes depend on: picklable, so that a worker process loads the same codec.

    Attributes:
        name: "embedded", whose weights ship with the package; "mimi"; or the path of a weights file in the embedded
            codec's format (`*.safetensors`), as `audio-tokenize train-codec` writes it.
        weights: Mimi only: a folder with `model.safetensors` (and `config.json`), a `.safetensors` file, or a hub id;
            None for "kyutai/mimi".
        revision: Mimi only: branch, tag or commit of a hub id; None for its default branch.
        num_codebooks: Mimi only: leading codebooks to use, up to what the weights have; None for 8.
        attention_window_seconds: Mimi only: how much past the attention sees: 10, as the published code enforces now,
            or None for all of it, as versions before 2026 had it.
        codec_id: Mimi only: names the codes; None for "mimi" when the weights are those of "kyutai/mimi" and for
            "mimi-" and 12 digits of the weights' SHA-256 otherwise.
        weights_sha256: Mimi only: what the weights must be; None for any.
    """

    name: str = "embedded"
    weights: str | None = None
    revision: str | None = None
    num_codebooks: int | None = None
    attention_window_seconds: float | int | None = 10.0
    codec_id: str | None = None
    weights_sha256: str | None = None

    @classmethod
    def from_description(cls, description: Mapping[str, Any], *, weights: str | None = None) -> "CodecSpec":
        """Return the spec of the codec that made the codes of a manifest.

        Args:
            description: The `codec` entry of a manifest, which is `AbstractCodec.description`.
            weights: Where Mimi's weights lie now, if no longer where they were; they must still be the same.

        Raises:
            InputError: If the entry names no codec.
        """
        if not isinstance(name := description.get("name"), str):
            raise InputError(f"expected `codec` of a manifest to have a `name`, got {dict(description)!r}")
        if name != "mimi":
            return cls(name)
        window = description.get("attention_window_frames", 125)
        return cls(
            name,
            weights=weights or description.get("weights"),
            revision=None if weights else description.get("revision"),
            num_codebooks=description.get("num_codebooks"),
            attention_window_seconds=None if window is None else window / description.get("frame_rate_hz", 12.5),
            codec_id=description.get("id"),
            weights_sha256=description.get("weights_sha256"),
        )


def load_codec(spec: str | CodecSpec) -> AbstractCodec:
    """Load a codec.

    Args:
        spec: What to load; a string stands for `CodecSpec(name=string)`.

    Raises:
        InputError: If there is no such codec, its weights cannot be read, or they are not those that `spec` asks for.
    """
    spec = CodecSpec(spec) if isinstance(spec, str) else spec
    if spec.name == "mimi":
        return _load_mimi(spec)
    if spec != CodecSpec(spec.name):
        raise InputError(f"expected options of Mimi with `codec` 'mimi' only, got {spec!r}")
    from audio_tokenize.codecs.embedded import load_embedded

    if spec.name == "embedded":
        return load_embedded()
    if spec.name.endswith(".safetensors"):
        return load_embedded(Path(spec.name))
    raise InputError(f"expected `codec` to be 'embedded', 'mimi' or a path ending in .safetensors, got {spec.name!r}")


def _load_mimi(spec: CodecSpec) -> AbstractCodec:
    from audio_tokenize.codecs.mimi import load_mimi

    codec = load_mimi(
        spec.weights,
        revision=spec.revision,
        num_codebooks=spec.num_codebooks,
        attention_window_seconds=spec.attention_window_seconds,
        codec_id=spec.codec_id,
    )
    found = codec.provenance.sha256
    if spec.weights_sha256 not in (None, found):
        raise InputError(
            f"expected weights of SHA-256 {spec.weights_sha256} in `{codec.provenance.weights}`, got {found}: "
            "name the weights that made the codes"
        )
    return codec
