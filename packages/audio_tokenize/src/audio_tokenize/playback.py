"""Looking at and listening to what was written: a document or an utterance, as text and as sound."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float32, Integer

from audio_data import InputError, TokenDataset
from audio_tokenize.documents import layout
from audio_tokenize.encoded import MANIFEST_NAME, EncodedCorpus
from audio_tokenize.storage import write_bytes
from audio_tokenize.vocabularies import FOLDER_NAME, VocabularyFolder

# Of a file of codes, which does not say; every codec of the study has it.
FRAME_RATE_HZ = 12.5


@dataclass(frozen=True, eq=False)
class Excerpt:
    """One entry of a folder of codes, a token dataset or a file of codes.

    Attributes:
        codec_name: What `load_codec` takes.
        codec_id: Of the codec that made the codes, where known.
        frame_rate_hz: Frames of audio a second.
        segments: Transcript and codes of each utterance, in order.
        metadata: What else is known.
    """

    codec_name: str
    codec_id: str | None
    frame_rate_hz: float
    segments: tuple[tuple[str, Integer[np.ndarray, "frames codebooks"]], ...]
    metadata: dict[str, Any]


def read_excerpt(source: str | Path, index: int = 0, codec_name: str = "embedded") -> Excerpt:
    """Reads one entry of whatever holds codes.

    Args:
        source: A folder of codes, a token dataset, or a `.npy` file of codes [frames, codebooks].
        index: Which utterance or document; a file holds one.
        codec_name: Of the codec, where the source does not say.

    Raises:
        InputError: No such entry, or none of these sources.
    """
    source = Path(source)
    if (source / MANIFEST_NAME).is_file():
        return _from_codes(EncodedCorpus.open(source), index)
    if (source / "manifest.json").is_file():
        return _from_dataset(TokenDataset.open(source), source, index)
    if source.suffix == ".npy" and source.is_file():
        return _from_file(source, codec_name)
    raise InputError(f"`{source}` must be a folder of codes, a token dataset or a `.npy` file of codes: check the path")


def decode_excerpt(excerpt: Excerpt) -> tuple[Float32[np.ndarray, " samples"], int]:
    """The sound of an excerpt, its utterances one after another.

    Args:
        excerpt: As `read_excerpt` gives it.

    Returns:
        Samples and their rate in Hz.

    Raises:
        InputError: The codec of that name is another one than made the codes.
    """
    # Only here, since a codec brings jax and looking needs neither.
    from audio_tokenize.codecs import load_codec

    codec = load_codec(excerpt.codec_name)
    if excerpt.codec_id not in (None, codec.codec_id):
        raise InputError(
            f"these codes are of codec {excerpt.codec_id!r}, but {excerpt.codec_name!r} now is {codec.codec_id!r}: "
            "use the version of audio-tokenize that encoded them"
        )
    parts = [np.asarray(codec.decode(codes.astype(np.int32)), np.float32) for _, codes in excerpt.segments]
    return np.concatenate(parts), codec.sample_rate_hz


def write_wav(path: str | Path, samples: Float32[np.ndarray, " samples"], sample_rate_hz: int) -> None:
    """Writes 16-bit PCM.

    Args:
        path: The file, ending in `.wav`; its folder must exist.
        samples: Between -1 and 1; what lies outside is clipped.
        sample_rate_hz: Of the samples.

    Raises:
        InputError: Another ending, or the disk refuses.
    """
    path = Path(path)
    if path.suffix != ".wav":
        raise InputError(f"`out` must end in `.wav`, got {path.name!r}")
    # In memory first: libsndfile does not report a disk that fills up while it writes.
    content = io.BytesIO()
    soundfile.write(content, np.clip(samples, -1, 1), sample_rate_hz, format="WAV", subtype="PCM_16")
    write_bytes(path, content.getvalue())


def describe_excerpt(excerpt: Excerpt) -> dict[str, Any]:
    """An excerpt for people.

    Args:
        excerpt: As `read_excerpt` gives it.

    Returns:
        Its metadata, and of each utterance the text, frames, codebooks, seconds and codes of the first frame.
    """
    segments = [
        {
            "text": text,
            "num_frames": len(codes),
            "num_codebooks": codes.shape[1],
            "seconds": len(codes) / excerpt.frame_rate_hz,
            "first_frame": codes[0].tolist() if len(codes) else [],
        }
        for text, codes in excerpt.segments
    ]
    return {**excerpt.metadata, "codec_id": excerpt.codec_id, "segments": segments}


def _from_codes(corpus: EncodedCorpus, index: int) -> Excerpt:
    utterance = corpus[_check_index(index, len(corpus), corpus.path)]
    metadata = {name: getattr(utterance, name) for name in ("id", "speaker", "language", "recording", "split", "phase")}
    codec = corpus.manifest.codec
    return Excerpt(codec["name"], codec["id"], codec["frame_rate_hz"], ((utterance.text, utterance.codes),), metadata)


def _from_dataset(dataset: TokenDataset, path: Path, index: int) -> Excerpt:
    document = dataset[_check_index(index, len(dataset), path)]
    folder = VocabularyFolder.load(path.parent / FOLDER_NAME)
    segments = layout(document.metadata["layout"]).parse(document.ids, folder.vocabulary)
    codec = dataset.manifest.codec
    return Excerpt(
        codec["name"],
        codec["id"],
        codec["frame_rate_hz"],
        tuple((folder.text.decode(segment.text_ids.tolist()), segment.codes) for segment in segments),
        document.metadata,
    )


def _from_file(path: Path, codec_name: str) -> Excerpt:
    try:
        codes = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise InputError(f"`{path}` cannot be read ({error}): save codes with `numpy.save`") from error
    if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
        raise InputError(f"`{path}` must hold integers [frames, codebooks], got {codes.dtype} {codes.shape!r}")
    return Excerpt(codec_name, None, FRAME_RATE_HZ, (("", codes),), {"id": path.stem})


def _check_index(index: int, length: int, path: Path) -> int:
    if not 0 <= index < length:
        raise InputError(f"`index` into `{path}` must be in 0..{length - 1}, got {index!r}")
    return index
