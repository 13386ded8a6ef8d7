"""The sizes of a Mimi, under the names of its published `config.json`."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audio_data import InputError, from_json, read_json

_MAX_SIZE, _MAX_STRIDES = 2**16, 16
_LIMITS = {"sampling_rate": 10**6, "num_hidden_layers": 1024, "num_residual_layers": 16, "rope_theta": 1e12}
_FIXED = {
    "audio_channels": 1,
    "use_causal_conv": True,
    "pad_mode": "constant",
    "trim_right_ratio": 1.0,
    "use_conv_shortcut": False,
    "hidden_act": "gelu",
    "attention_bias": False,
}
"""Fields of a `config.json` that have one value in every published Mimi, the only one implemented."""


@dataclasses.dataclass(frozen=True)
class MimiConfig:
    """Sizes of a Mimi; the defaults are those of `kyutai/mimi`.

    Attributes:
        sampling_rate: Samples a second, in Hz.
        hidden_size: Width of the transformers and of the latents.
        num_filters: Channels at the sampling rate; they double at each stride.
        num_residual_layers: Residual blocks before each stride, of growing dilation.
        upsampling_ratios: Strides of the decoder; the encoder's are the same backwards.
        kernel_size: Taps of the first convolution.
        last_kernel_size: Taps of the last convolution.
        residual_kernel_size: Taps of a residual block's first convolution.
        dilation_growth_rate: Factor between the dilations of residual blocks in a row.
        compress: Factor by which a residual block narrows.
        latent_stride: Positions of the transformers in a frame.
        codebook_size: Codes of a codebook.
        codebook_dim: Width of a code's vector.
        num_quantizers: Codebooks in the weights.
        num_semantic_quantizers: How many of them, the first ones, quantise on their own.
        num_hidden_layers: Layers of each transformer.
        intermediate_size: Width inside a transformer's MLP.
        num_attention_heads: Heads of a transformer layer.
        head_dim: Width of a head.
        norm_eps: Added to variances.
        rope_theta: Base of the rotary embedding's wavelengths.
    """

    sampling_rate: int = 24_000
    hidden_size: int = 512
    num_filters: int = 64
    num_residual_layers: int = 1
    upsampling_ratios: tuple[int, ...] = (8, 6, 5, 4)
    kernel_size: int = 7
    last_kernel_size: int = 3
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    compress: int = 2
    latent_stride: int = 2
    codebook_size: int = 2048
    codebook_dim: int = 256
    num_quantizers: int = 32
    num_semantic_quantizers: int = 1
    num_hidden_layers: int = 8
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    head_dim: int = 64
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0

    @classmethod
    def tiny(cls) -> "MimiConfig":
        """Return a Mimi of published shape and 0.6 M parameters, for tests; its weights can only be random."""
        return cls(
            hidden_size=64,
            num_filters=8,
            codebook_size=64,
            codebook_dim=32,
            num_hidden_layers=2,
            intermediate_size=128,
            num_attention_heads=4,
            head_dim=16,
        )

    @property
    def samples_per_position(self) -> int:
        """Samples that a position of the transformers covers."""
        return math.prod(self.upsampling_ratios)

    @property
    def samples_per_frame(self) -> int:
        """Samples that a frame covers."""
        return self.samples_per_position * self.latent_stride

    @classmethod
    def read(cls, path: Path) -> "MimiConfig":
        """Read a `config.json` as transformers writes it.

        Raises:
            InputError: If the file is no such JSON or describes a Mimi that is not implemented.
        """
        content = read_json(path, remedy="download it again")
        if content.get("model_type") != "mimi":
            kind = content.get("model_type")
            raise InputError(f"expected `model_type` 'mimi' in `{path}`, got {kind!r:.80}: choose a Mimi's folder")
        return cls.from_json(content, str(path))

    @classmethod
    def from_json(cls, content: Mapping[str, Any], origin: str) -> "MimiConfig":
        """Return the config that the fields of a `config.json` describe; a field left out has its default.

        Args:
            content: Fields as transformers writes them.
            origin: Where they come from, for errors.
        """
        for name, value in _FIXED.items():
            if content.get(name, value) != value:
                raise InputError(f"expected `{name}` {value!r} in `{origin}`, got {content[name]!r}: not implemented")
        known = {field.name for field in dataclasses.fields(cls)}
        fields = {name: value for name, value in content.items() if name in known and value is not None}
        rope = content.get("rope_parameters")
        if isinstance(rope, Mapping):
            if rope.get("rope_type", "default") != "default":
                kind = rope["rope_type"]
                raise InputError(f"expected `rope_type` 'default' in `{origin}`, got {kind!r}: not implemented")
            fields["rope_theta"] = rope.get("rope_theta", cls.rope_theta)
        config = from_json(cls, fields, origin)
        config._check_sizes(origin)
        config._check_derived(content, origin)
        return config

    def _check_sizes(self, origin: str) -> None:
        """Refuse sizes that no Mimi has, before anything is made of them."""
        for name, value in dataclasses.asdict(self).items():
            sizes = value if isinstance(value, tuple) else (value,)
            limit = _LIMITS.get(name, _MAX_SIZE)
            if not sizes or len(sizes) > _MAX_STRIDES or not all(0 < size <= limit for size in sizes):
                raise InputError(f"expected `{name}` above 0 and up to {limit:,} in `{origin}`, got {value!r:.80}")

    def _check_derived(self, content: Mapping[str, Any], origin: str) -> None:
        """Refuse fields that disagree with what follows from the others here."""
        frame_rate = self.sampling_rate / self.samples_per_frame
        derived = {
            "num_key_value_heads": self.num_attention_heads,
            "upsample_groups": self.hidden_size,
            "vector_quantization_hidden_dimension": self.codebook_dim,
            "frame_rate": frame_rate,
            "_frame_rate": frame_rate,
        }
        for name, value in derived.items():
            found = content.get(name)
            if found is not None and found != value:
                raise InputError(f"expected `{name}` {value!r} in `{origin}`, got {found!r}: not implemented")

    def to_json(self) -> dict[str, object]:
        """Return the fields of a `config.json` that transformers' MimiConfig reads."""
        own = dataclasses.asdict(self)
        own.pop("latent_stride")
        return {
            "architectures": ["MimiModel"],
            "model_type": "mimi",
            **own,
            "upsampling_ratios": list(self.upsampling_ratios),
            "num_key_value_heads": self.num_attention_heads,
            "upsample_groups": self.hidden_size,
            "vector_quantization_hidden_dimension": self.codebook_dim,
            "frame_rate": self.sampling_rate / self.samples_per_frame,
        }
