"""What a look at the bytes of an audio file finds: stretches that decode apart, and where the file ends too early."""

from dataclasses import dataclass

from audio_tokenize.audio_files.sources import Piece

CONVERT = "convert it, e.g. `ffmpeg -i IN OUT.flac`"


@dataclass(frozen=True)
class Section:
    """A stretch of a file that is a whole file to a decoder: all of it, or a link of a chain.

    Attributes:
        pieces: What the decoder is given; `None` is the file as it is.
        num_frames: Samples of a channel, where the bytes say more surely than the decoder; `None` asks the decoder.
    """

    pieces: tuple[Piece, ...] | None = None
    num_frames: int | None = None


@dataclass(frozen=True)
class Scan:
    """The sound in a file, by its bytes.

    Attributes:
        sections: In order of time; what lies behind a fault is not among them.
        fault: What is wrong with the file, as the end of `expected ..., got ...`; empty where it is whole.
        remedy: What to do about it.
    """

    sections: tuple[Section, ...]
    fault: str = ""
    remedy: str = "replace the file"


def cut_short(stated: int, there: int, unit: str = "bytes of sound") -> str:
    """Return the fault of a file that states more than it has."""
    return f"a file that is cut short: it states {stated:,} {unit}, {there:,} are there"
