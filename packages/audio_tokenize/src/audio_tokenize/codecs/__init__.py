"""Codecs by name, behind one interface."""

from .base import AbstractCodec, AbstractDecoderStream, AbstractEncoderStream
from .registry import load_codec

__all__ = ["AbstractCodec", "AbstractDecoderStream", "AbstractEncoderStream", "load_codec"]
