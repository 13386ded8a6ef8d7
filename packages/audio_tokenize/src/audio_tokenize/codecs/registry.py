"""The registry of codecs: from a name or a path to the codec.

An installed package adds its codecs through the entry-point group `audio_tokenize.codecs`: each entry point is a
`RegisteredCodec`, or an iterable of them. The codecs of this package are registered in the same way.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from audio_data import InputError, load_object, names_object, nearest, registered_objects
from audio_tokenize.codecs.base import AbstractCodec

ENTRY_POINT_GROUP = "audio_tokenize.codecs"


@dataclass(frozen=True)
class CodecSpec:
    """Names a codec and everything its codes depend on: picklable, so that a worker process loads the same codec.

    Attributes:
        name: A registered name, such as "embedded", whose weights ship with the package, or "mimi"; `FILE.py:NAME` or
            `MODULE:NAME` of an `AbstractCodec`; or the path of a weights file in the embedded codec's format
            (`*.safetensors`), as `audio-tokenize train-codec` writes it.
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


@dataclass(frozen=True)
class RegisteredCodec:
    """A codec under a name.

    Attributes:
        name: What `CodecSpec.name` and `--codec` call it.
        load: Makes the codec that a spec names.
        has_options: Whether `load` reads other fields of the spec than `name`; they are refused otherwise.
    """

    name: str
    load: Callable[[CodecSpec], AbstractCodec]
    has_options: bool = False


def load_codec(spec: str | CodecSpec) -> AbstractCodec:
    """Load a codec.

    Args:
        spec: What to load; a string stands for `CodecSpec(name=string)`.

    Raises:
        InputError: If there is no such codec, its weights cannot be read, or they are not those that `spec` asks for.
    """
    spec = CodecSpec(spec) if isinstance(spec, str) else spec
    if spec.name.endswith(".safetensors"):
        found = RegisteredCodec(spec.name, _load_weights)
    elif names_object(spec.name):
        found = RegisteredCodec(spec.name, _load_object)
    else:
        found = _registered(spec.name)
    plain = CodecSpec(spec.name)
    given = [f.name for f in fields(spec) if getattr(spec, f.name) != getattr(plain, f.name)]
    if given and not found.has_options:
        raise InputError(
            f"codec {spec.name!r} must be given by its name alone, got {', '.join(f'`{name}`' for name in given)}; "
            "leave that out"
        )
    return found.load(spec)


def _registered(name: str) -> RegisteredCodec:
    found: dict[str, RegisteredCodec] = {}
    for extension in registered_objects(ENTRY_POINT_GROUP, RegisteredCodec):
        if found.setdefault(extension.value.name, extension.value) is not extension.value:
            raise InputError(
                f"codec `{extension.value.name}` must be registered once, got it again by the entry point "
                f"{extension.origin}; uninstall one of the two packages"
            )
    if name not in found:
        raise InputError(
            f"expected `codec` to be one of {', '.join(found)}, a path ending in .safetensors, FILE.py:NAME or "
            f"MODULE:NAME, got {name!r}; {nearest(name, found)}"
        )
    return found[name]


def _load_object(spec: CodecSpec) -> AbstractCodec:
    remedy = "give FILE.py:NAME or MODULE:NAME of an `AbstractCodec` that needs no arguments"
    return load_object(spec.name, AbstractCodec, what="codec", remedy=remedy).value


def _load_weights(spec: CodecSpec) -> AbstractCodec:
    from audio_tokenize.codecs.embedded import load_embedded

    return load_embedded(Path(spec.name))


def _load_embedded(spec: CodecSpec) -> AbstractCodec:
    from audio_tokenize.codecs.embedded import load_embedded

    return load_embedded()


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


CODECS = (RegisteredCodec("embedded", _load_embedded), RegisteredCodec("mimi", _load_mimi, has_options=True))
"""What this package registers."""
