"""Codecs by name, behind one interface."""

from audio_tokenize.codecs.base import AbstractCodec, AbstractDecoderStream, AbstractEncoderStream
from audio_tokenize.codecs.registry import CodecSpec, RegisteredCodec, load_codec

__all__ = [
    "AbstractCodec",
    "AbstractDecoderStream",
    "AbstractEncoderStream",
    "CodecSpec",
    "RegisteredCodec",
    "load_codec",
]
