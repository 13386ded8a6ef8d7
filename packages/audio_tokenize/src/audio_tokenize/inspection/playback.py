"""A document or an utterance as text and as sound."""

import dataclasses
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from jaxtyping import Float32, Integer

from audio_data import InputError, StoragePath, check_output, storage_path, write_output
from audio_tokenize.corpora.record_rules import escaped
from audio_tokenize.documents.passages import Passage
from audio_tokenize.inspection.excerpts import Excerpt

# A codec brings jax, and looking needs none.
if TYPE_CHECKING:
    import audio_tokenize.codecs.base
    import audio_tokenize.codecs.registry

_SOFTWARE = "audio-tokenize decode"
"""Program that a .wav file names as its writer; only such files are replaced."""


def check_wav(path: str | StoragePath) -> None:
    """Check that a .wav file may be written, before anything is decoded.

    Args:
        path: The file, ending in `.wav`.

    Raises:
        InputError: Another ending, or another file is there.
    """
    path = storage_path(path)
    if path.suffix != ".wav":
        raise InputError(f"`out` must end in `.wav`, got {path.name!r}")
    check_output(path, _SOFTWARE.encode())


def decode_excerpt(
    excerpt: Excerpt,
    codec: "str | audio_tokenize.codecs.registry.CodecSpec | None" = None,
    *,
    weights: str | None = None,
    segment: int | None = None,
) -> tuple[Float32[np.ndarray, " samples"], int]:
    """Return the sound of an excerpt, its spans of audio one after another.

    Args:
        excerpt: As `read_excerpt` gives it.
        codec: What decodes; by default the codec that the source names.
        weights: Where Mimi's weights are, if no longer where the source says.
        segment: Decode this span of audio only, counted from 0.

    Returns:
        Samples and their rate in Hz.

    Raises:
        InputError: There is no such audio, the document is broken, the source names no codec, or the codec is another
            one than made the codes.
    """
    # Only here, for the same reason as above.
    from audio_tokenize import codecs

    chosen = _choose(excerpt, segment)
    spec = _spec(excerpt, codec, weights)
    if spec.name == "mimi" and spec.num_codebooks is None:
        spec = dataclasses.replace(spec, num_codebooks=max(codes.shape[1] for codes in chosen))
    loaded = codecs.load_codec(spec)
    _check_codec(excerpt.codec.get("id"), loaded)
    for codes in chosen:
        _check_codes(codes, loaded)
    parts = [np.asarray(loaded.decode(codes.astype(np.int32)), np.float32) for codes in chosen]
    return np.concatenate(parts), loaded.sample_rate_hz


def write_wav(path: str | StoragePath, samples: Float32[np.ndarray, " samples"], sample_rate_hz: int) -> None:
    """Write 16-bit PCM.

    Args:
        path: The file, ending in `.wav`; its folder must exist.
        samples: Between -1 and 1; what lies outside is clipped.
        sample_rate_hz: Of the samples.

    Raises:
        InputError: Another ending, another file is there, or the disk refuses.
    """
    check_wav(path)
    path = storage_path(path)
    # In memory first: libsndfile does not report a disk that fills up while it writes.
    content = io.BytesIO()
    with soundfile.SoundFile(content, "w", sample_rate_hz, channels=1, format="WAV", subtype="PCM_16") as file:
        file.software = _SOFTWARE
        file.write(np.clip(samples, -1, 1))
    write_output(path, content.getvalue(), _SOFTWARE.encode())


def describe_excerpt(excerpt: Excerpt) -> dict[str, Any]:
    """Return an excerpt as JSON.

    Args:
        excerpt: As `read_excerpt` gives it.

    Returns:
        `name`, `metadata`, `codec_id`, `num_tokens` and their `unit`, `seconds`, `problem`, and `passages`: of each its
        kind, its first token, the one after its last, and its text, or its frames, codebooks and first and last frame
        of codes. Times count the audio of the document; a text has those of the audio that it stands beside, in
        documents with as many texts as spans of audio.
    """
    times = _times(excerpt)
    return {
        "name": excerpt.name,
        "metadata": dict(excerpt.metadata),
        "codec_id": excerpt.codec.get("id"),
        "num_tokens": excerpt.num_tokens,
        "unit": excerpt.unit,
        "seconds": sum(len(_codes(passage)) for passage in excerpt.audio) / excerpt.frame_rate_hz,
        "problem": excerpt.problem,
        "passages": [_describe(passage, time) for passage, time in zip(excerpt.passages, times, strict=True)],
    }


def show_excerpt(excerpt: Excerpt) -> str:
    """Return an excerpt as lines for people: a passage a line, after the position of its first token.

    Args:
        excerpt: As `read_excerpt` gives it.
    """
    described = describe_excerpt(excerpt)
    facts = [f"{name}={escaped(str(value))}" for name, value in described["metadata"].items() if name != "text"]
    counts = f"{described['num_tokens']:,} {described['unit']}, {described['seconds']:.2f} s"
    codec = f"codec {described['codec_id']}" if described["codec_id"] else "codec not stated"
    lines = [f"{described['name']}: {counts}, {codec}", *(["  ".join(facts)] if facts else [])]
    lines += [_line(passage) for passage in described["passages"]]
    if described["problem"] is not None:
        shown = max((passage["stop"] or 0 for passage in described["passages"]), default=0)
        lines.append(
            f"broken: {described['problem']}; {described['num_tokens'] - shown:,} tokens from there on not shown"
        )
    return "\n".join(lines)


def _choose(excerpt: Excerpt, segment: int | None) -> list[Integer[np.ndarray, "frames codebooks"]]:
    spans = [_codes(passage) for passage in excerpt.audio]
    if segment is not None:
        if not 0 <= segment < len(spans):
            raise InputError(f"`segment` of `{excerpt.name}` must be in 0..{len(spans) - 1}, got {segment!r}")
        spans = [spans[segment]]
    elif excerpt.problem is not None:
        raise InputError(
            f"`{excerpt.name}` is broken: {excerpt.problem}; `inspect` shows it, and `segment` decodes one of the "
            f"{len(spans)} spans of audio before that place"
        )
    if not any(len(codes) for codes in spans):
        raise InputError(f"`{excerpt.name}` holds no audio to decode: choose another entry")
    return [codes for codes in spans if len(codes)]


def _spec(
    excerpt: Excerpt, codec: "str | audio_tokenize.codecs.registry.CodecSpec | None", weights: str | None
) -> "audio_tokenize.codecs.registry.CodecSpec":
    from audio_tokenize.codecs.registry import CodecSpec

    if isinstance(codec, CodecSpec):
        return codec
    described = _description(excerpt)
    if codec is not None and codec != described.get("name"):
        return CodecSpec(codec, weights=weights)
    if described:
        return CodecSpec.from_description(described, weights=weights)
    if weights is not None:
        return CodecSpec("mimi", weights=weights)
    raise InputError(
        f"`{excerpt.name}` does not name the codec that made it: give `codec`, for published corpora 'mimi' "
        "(`--codec mimi --weights DIR`)"
    )


def _description(excerpt: Excerpt) -> Mapping[str, Any]:
    """Return what names the codec: the manifest, or the family at the beginning of a vocabulary's id; else nothing."""
    if "name" in excerpt.codec:
        return excerpt.codec
    family = str(excerpt.codec.get("id", "")).partition("-")[0]
    return {"name": family, "id": excerpt.codec["id"]} if family in ("embedded", "mimi") else {}


def _check_codec(expected: str | None, codec: "audio_tokenize.codecs.base.AbstractCodec") -> None:
    if expected not in (None, codec.codec_id):
        raise InputError(
            f"these codes are of codec {expected!r}, but the one given is {codec.codec_id!r}: "
            "use the weights, and the version of audio-tokenize, that encoded them"
        )


def _check_codes(
    codes: Integer[np.ndarray, "frames codebooks"], codec: "audio_tokenize.codecs.base.AbstractCodec"
) -> None:
    wrong = np.argwhere((codes < 0) | (codes >= codec.codebook_size))
    if len(wrong):
        frame, codebook = wrong[0].tolist()
        raise InputError(
            f"`codes[{frame}, {codebook}]` must be in 0..{codec.codebook_size - 1} for codec {codec.codec_id!r}, "
            f"got {int(codes[frame, codebook])!r}: give the codec that made the codes"
        )
    if codes.shape[1] > codec.num_codebooks:
        raise InputError(
            f"`codes` must have at most {codec.num_codebooks} codebooks for codec {codec.codec_id!r}, "
            f"got {codes.shape[1]!r}: give the codec that made the codes"
        )


def _codes(passage: Passage) -> Integer[np.ndarray, "frames codebooks"]:
    assert passage.codes is not None
    return passage.codes


def _times(excerpt: Excerpt) -> list[tuple[float, float] | None]:
    """Begin and end in seconds of every passage that has them."""
    ends = np.cumsum([0, *(len(_codes(passage)) for passage in excerpt.audio)]) / excerpt.frame_rate_hz
    spans = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
    num_texts = sum(passage.kind == "text" for passage in excerpt.passages)
    of_kind = {"audio": iter(spans), "text": iter(spans if num_texts == len(spans) else [None] * num_texts)}
    return [next(of_kind[passage.kind]) if passage.kind in of_kind else None for passage in excerpt.passages]


def _describe(passage: Passage, time: tuple[float, float] | None) -> dict[str, Any]:
    described: dict[str, Any] = {"kind": passage.kind, "start": passage.start, "stop": passage.stop}
    if time is not None:
        described |= {"begin_seconds": time[0], "end_seconds": time[1]}
    if passage.codes is None:
        return described | {"text": passage.text}
    codes = passage.codes
    return described | {
        "num_frames": len(codes),
        "num_codebooks": codes.shape[1],
        "first_frame": codes[0].tolist() if len(codes) else [],
        "last_frame": codes[-1].tolist() if len(codes) else [],
    }


def _line(passage: Mapping[str, Any]) -> str:
    position = "" if passage["start"] is None else f"{passage['start']:,}"
    if passage["kind"] == "special":
        return f"{position:>9}  {passage['text']}"
    time = f"{passage['begin_seconds']:.2f}-{passage['end_seconds']:.2f} s" if "begin_seconds" in passage else ""
    if passage["kind"] == "text":
        return f"{position:>9}  text   {time:<15} {escaped(passage['text'])}"
    first, last = (" ".join(map(str, passage[name])) for name in ("first_frame", "last_frame"))
    shape = f"{passage['num_frames']:,} x {passage['num_codebooks']} codes"
    return f"{position:>9}  audio  {time:<15} {shape}  [{first}] ... [{last}]"
