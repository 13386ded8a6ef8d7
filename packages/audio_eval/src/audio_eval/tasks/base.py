"""What a task is, and what it is given."""

import abc
import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile
from jaxtyping import Float, Int

from audio_data import InputError, TokenDataset
from audio_eval.checkpoint import Checkpoint
from audio_eval.evaluation import disk_errors
from audio_eval.heldout import HeldoutDocument, HeldoutUtterance, read_documents, utterances
from audio_eval.judges import Judge
from audio_eval.scores import Item, Score
from audio_tokenize import AbstractCodec, Utterance, load_audio, load_codec

AUDIO_FOLDER = "audio"


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a task found.

    Attributes:
        scores: Its numbers, in the order a report shows them.
        items: What they rest on.
        facts: Further settings that were derived from the data, such as limits of length.
    """

    scores: tuple[Score, ...]
    items: tuple[Item, ...]
    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """What every task works on.

    Attributes:
        checkpoint: The model with its vocabulary.
        datasets: Held-out data sets by name; the first is the main one, on which controls are measured.
        folder: Folder of the evaluation; sounds go below its `audio`.
        judge: Transcriber of generated speech, or why there is none.
        recordings: Original recordings by the base id of the utterances encoded from them, as far as they are at hand.
        limit: At most this many documents of each data set.
        seed: Drives untrained weights and sampling.
    """

    checkpoint: Checkpoint
    datasets: Mapping[str, TokenDataset]
    folder: Path
    judge: Judge
    recordings: Mapping[str, Utterance] = dataclasses.field(default_factory=dict)
    limit: int | None = None
    seed: int = 0

    @functools.cached_property
    def documents(self) -> Mapping[str, Sequence[HeldoutDocument]]:
        """The documents of each data set."""
        vocabulary = self.checkpoint.vocabulary
        return {name: read_documents(name, data, vocabulary, self.limit) for name, data in self.datasets.items()}

    @functools.cached_property
    def utterances(self) -> Mapping[str, Sequence[HeldoutUtterance]]:
        """The utterances of each data set."""
        return {name: utterances(documents, self.checkpoint.text) for name, documents in self.documents.items()}

    @property
    def main_dataset(self) -> str:
        """Name of the data set that controls are measured on."""
        return next(iter(self.datasets))

    @functools.cached_property
    def codec(self) -> AbstractCodec:
        """The codec that made the model's audio tokens.

        Raises:
            InputError: The codec of that name has changed since.
        """
        wanted = self.checkpoint.vocabulary.codec_id
        codec = load_codec(str(self.datasets[self.main_dataset].manifest.codec.get("name", wanted)))
        if codec.codec_id != wanted:
            raise InputError(
                f"the model's audio tokens are of codec {wanted!r}, got {codec.codec_id!r}: use the version of "
                "audio-tokenize that encoded its data"
            )
        return codec

    def decode(self, codes: Int[np.ndarray, "frames codebooks"]) -> Float[np.ndarray, " samples"]:
        """Decodes codes to mono samples in -1..1; no frames give no samples."""
        if not len(codes):
            return np.zeros(0, np.float32)
        return np.asarray(self.codec.decode(codes), np.float32)

    def reconstruction(self, utterance: HeldoutUtterance) -> str:
        """Decodes an utterance's own codes, the best that a model of these codes can sound like.

        Returns:
            The path of the wav, relative to the evaluation's folder; every task gets the same one.
        """
        samples = self.decode(utterance.segment.codes)
        return self.save_audio(f"reconstructed/{utterance.dataset}/{utterance.id}", samples)

    def original(self, utterance: HeldoutUtterance) -> Float[np.ndarray, " samples"] | None:
        """Loads the recording that an utterance was encoded from, where its corpus is at hand."""
        recording = self.recordings.get(utterance.base_id)
        if recording is None:
            return None
        rate_hz = int(self.codec.sample_rate_hz)
        return load_audio(recording.audio, rate_hz, recording.start_seconds, recording.end_seconds)

    def save_audio(self, name: str, samples: Float[np.ndarray, " samples"]) -> str:
        """Writes samples as 16-bit wav.

        Args:
            name: Path below the audio folder, without the ending; each part is made safe for every file system.
            samples: Mono samples in -1..1 at the codec's rate.

        Returns:
            The file's path relative to the evaluation's folder.
        """
        safe = "/".join(re.sub(r"[^\w.-]+", "_", part).strip(".") or "_" for part in name.split("/"))
        relative = f"{AUDIO_FOLDER}/{safe}.wav"
        path = self.folder / relative
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                rate_hz = int(self.codec.sample_rate_hz)
                soundfile.write(stream, np.clip(samples, -1.0, 1.0), rate_hz, format="WAV", subtype="PCM_16")
        return relative


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """One evaluation. Its fields are its settings and go into its fingerprint."""

    name: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """Returns the fields by name."""
        return dataclasses.asdict(self)

    @abc.abstractmethod
    def run(self, context: Context) -> Findings:
        """Measures; long work reports progress to standard error."""
