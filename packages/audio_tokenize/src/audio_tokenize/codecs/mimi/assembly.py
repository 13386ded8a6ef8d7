"""From the tensors of a published Mimi to the parts of `model`, rearranged so that every convolution is a product."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from audio_tokenize.codecs.mimi.config import MimiConfig
from audio_tokenize.codecs.mimi.model import Decoder, Encoder, ResidualQuantizer, SplitQuantizer
from audio_tokenize.codecs.mimi.seanet import CausalConv, ResidualBlock, SeanetDecoder, SeanetEncoder, SeanetStage
from audio_tokenize.codecs.mimi.transformer import Layer, LayerNorm, Transformer

LoadTensor = Callable[..., Float32[np.ndarray, "..."]]
"""Called with a tensor's published name and its sizes."""
Parts = tuple[Encoder, Decoder, SplitQuantizer]

_LEAST_USAGE = 1e-5
"""A code used less often than this is taken to have been used this often, as transformers does."""


def _conv(
    load_tensor: LoadTensor, name: str, sizes: tuple[int, int, int], stride: int = 1, dilation: int = 1
) -> CausalConv:
    """Arrange a convolution of `sizes` (in, out, kernel): kernel position j is tap j // stride, place j % stride."""
    num_in, num_out, kernel = sizes
    taps = kernel // stride
    weight = load_tensor(f"{name}.conv.weight", num_out, num_in, kernel).reshape(num_out, num_in, taps, stride)
    matrix = weight.transpose(3, 1, 2, 0).reshape(stride * num_in, taps * num_out)
    return CausalConv(
        jnp.asarray(matrix), jnp.asarray(load_tensor(f"{name}.conv.bias", num_out)), taps, dilation, stride
    )


def _downsample(load_tensor: LoadTensor, config: MimiConfig) -> CausalConv:
    stride, width = config.latent_stride, config.hidden_size
    weight = load_tensor("downsample.conv.weight", width, width, 2 * stride).reshape(width, width, 2, stride)
    matrix = weight.transpose(3, 1, 2, 0).reshape(stride * width, 2 * width)
    return CausalConv(jnp.asarray(matrix), None, taps=2, stride=stride)


def _transposed(load_tensor: LoadTensor, name: str, num_in: int, num_out: int, stride: int) -> CausalConv:
    """Arrange a transposed convolution: the second half of its kernel is what the row before adds to a row."""
    weight = load_tensor(f"{name}.conv.weight", num_in, num_out, 2 * stride).reshape(num_in, num_out, 2, stride)
    matrix = weight[:, :, ::-1].transpose(0, 2, 3, 1).reshape(num_in, 2 * stride * num_out)
    bias = np.tile(load_tensor(f"{name}.conv.bias", num_out), stride)
    return CausalConv(jnp.asarray(matrix), jnp.asarray(bias), taps=2, transposed_stride=stride)


def _blocks(
    load_tensor: LoadTensor, part: str, first: int, width: int, config: MimiConfig
) -> tuple[ResidualBlock, ...]:
    narrow, kernel = width // config.compress, config.residual_kernel_size
    blocks = []
    for i in range(config.num_residual_layers):
        name, dilation = f"{part}.layers.{first + i}.block", config.dilation_growth_rate**i
        blocks.append(
            ResidualBlock(
                _conv(load_tensor, f"{name}.1", (width, narrow, kernel), dilation=dilation),
                _conv(load_tensor, f"{name}.3", (narrow, width, 1)),
            )
        )
    return tuple(blocks)


def _seanet_encoder(load_tensor: LoadTensor, config: MimiConfig) -> SeanetEncoder:
    width, index, stages = config.num_filters, 1, []
    first = _conv(load_tensor, "encoder.layers.0", (1, width, config.kernel_size))
    for stride in reversed(config.upsampling_ratios):
        blocks = _blocks(load_tensor, "encoder", index, width, config)
        index += len(blocks) + 1  # an activation counts as a layer
        stages.append(
            SeanetStage(blocks, _conv(load_tensor, f"encoder.layers.{index}", (width, 2 * width, 2 * stride), stride))
        )
        width, index = 2 * width, index + 1
    last = _conv(load_tensor, f"encoder.layers.{index + 1}", (width, config.hidden_size, config.last_kernel_size))
    return SeanetEncoder(first, tuple(stages), last)


def _seanet_decoder(load_tensor: LoadTensor, config: MimiConfig) -> SeanetDecoder:
    width, index, stages = config.num_filters * 2 ** len(config.upsampling_ratios), 1, []
    first = _conv(load_tensor, "decoder.layers.0", (config.hidden_size, width, config.kernel_size))
    for stride in config.upsampling_ratios:
        resample = _transposed(load_tensor, f"decoder.layers.{index + 1}", width, width // 2, stride)
        width = width // 2
        stages.append(SeanetStage(_blocks(load_tensor, "decoder", index + 2, width, config), resample))
        index += 2 + config.num_residual_layers
    last = _conv(load_tensor, f"decoder.layers.{index + 1}", (width, 1, config.last_kernel_size))
    return SeanetDecoder(first, tuple(stages), last)


def _layer(load_tensor: LoadTensor, name: str, config: MimiConfig) -> Layer:
    """Arrange a layer, its scales multiplied into the projections before them."""
    width, mlp, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads * config.head_dim
    projections = [load_tensor(f"{name}.self_attn.{part}_proj.weight", heads, width).T for part in "qkv"]
    out = load_tensor(f"{name}.self_attn.o_proj.weight", width, heads).T * load_tensor(
        f"{name}.self_attn_layer_scale.scale", width
    )
    down = load_tensor(f"{name}.mlp.fc2.weight", width, mlp).T * load_tensor(f"{name}.mlp_layer_scale.scale", width)
    return Layer(
        _norm(load_tensor, f"{name}.input_layernorm", config),
        jnp.asarray(np.concatenate(projections, axis=1)),
        jnp.asarray(out),
        _norm(load_tensor, f"{name}.post_attention_layernorm", config),
        jnp.asarray(load_tensor(f"{name}.mlp.fc1.weight", mlp, width).T),
        jnp.asarray(down),
        config.num_attention_heads,
    )


def _norm(load_tensor: LoadTensor, name: str, config: MimiConfig) -> LayerNorm:
    weight, bias = (jnp.asarray(load_tensor(f"{name}.{part}", config.hidden_size)) for part in ("weight", "bias"))
    return LayerNorm(weight, bias, config.norm_eps)


def _transformer(load_tensor: LoadTensor, name: str, config: MimiConfig, window: int | None) -> Transformer:
    layers = tuple(_layer(load_tensor, f"{name}.layers.{i}", config) for i in range(config.num_hidden_layers))
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    wavelengths = np.float32(config.rope_theta) ** exponents
    return Transformer(layers, jnp.asarray(1 / wavelengths), window)


def _residual_quantizer(load_tensor: LoadTensor, name: str, config: MimiConfig, num_books: int) -> ResidualQuantizer:
    width, size, dim = config.hidden_size, config.codebook_size, config.codebook_dim
    projected = dim != width
    input_proj = (
        load_tensor(f"{name}.input_proj.weight", dim, width, 1)[:, :, 0].T
        if projected
        else np.eye(width, dtype=np.float32)
    )
    output_proj = (
        load_tensor(f"{name}.output_proj.weight", width, dim, 1)[:, :, 0].T
        if projected
        else np.eye(width, dtype=np.float32)
    )
    books = []
    for i in range(num_books):
        total = load_tensor(f"{name}.layers.{i}.codebook.embed_sum", size, dim)
        usage = load_tensor(f"{name}.layers.{i}.codebook.cluster_usage", size)
        books.append(jnp.asarray(total / np.maximum(usage, np.float32(_LEAST_USAGE))[:, None]))
    return ResidualQuantizer(jnp.asarray(input_proj), jnp.asarray(output_proj), tuple(books))


def build(load_tensor: LoadTensor, config: MimiConfig, num_codebooks: int, window: int | None) -> Parts:
    """Build the parts of a Mimi from its tensors.

    Args:
        load_tensor: Gives a float32 tensor by its published name and sizes.
        config: Sizes.
        num_codebooks: Leading codebooks to use; not less than the semantic ones.
        window: Positions that the attention sees; None for all.
    """
    num_semantic = config.num_semantic_quantizers
    names = ["semantic", "acoustic"] if num_codebooks > num_semantic else ["semantic"]
    counts = [num_semantic, num_codebooks - num_semantic]
    quantizers = [
        _residual_quantizer(load_tensor, f"quantizer.{name}_residual_vector_quantizer", config, count)
        for name, count in zip(names, counts, strict=False)
    ]
    stride, width = config.latent_stride, config.hidden_size
    upsample = (
        load_tensor("upsample.conv.weight", width, 1, 2 * stride).reshape(width, 2, stride)[:, ::-1].transpose(1, 2, 0)
    )
    encoder = Encoder(
        _seanet_encoder(load_tensor, config),
        _transformer(load_tensor, "encoder_transformer", config, window),
        _downsample(load_tensor, config),
    )
    decoder = Decoder(
        jnp.asarray(upsample),
        _transformer(load_tensor, "decoder_transformer", config, window),
        _seanet_decoder(load_tensor, config),
    )
    return encoder, decoder, SplitQuantizer(quantizers[0], quantizers[1] if len(quantizers) > 1 else None)
