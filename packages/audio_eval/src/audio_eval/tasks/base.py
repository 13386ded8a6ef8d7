"""The interface of a task, and what a task is given."""

import abc
import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile
from jaxtyping import Float, Int, Int32

from audio_data import InputError, TokenDataset, disk_errors, make_folder
from audio_eval.checkpoint import Checkpoint
from audio_eval.heldout import HeldoutDocument, HeldoutUtterance, read_documents, utterances
from audio_eval.journal import Journal
from audio_eval.scores import Item, Score
from audio_eval.speech_models import SpeakerEncoder, Transcriber, Unavailable
from audio_eval.testsets.location import TestSetCard, fingerprint_folder, locate
from audio_tokenize import AbstractCodec, CodecSpec, Utterance, load_audio, load_codec

AUDIO_FOLDER = "audio"
# Lower bounds of settings of these names, in every task that has them.
_MINIMA = {
    **dict.fromkeys(("batch_size", "tokens_per_batch", "num_items", "max_tokens", "max_frames"), 1),
    **dict.fromkeys(("min_frames", "shots", "num_kept_audio"), 0),
}
_NAME = re.compile(r"[A-Za-z0-9_-]+")
NO_SPEAKER_ENCODER = Unavailable("no speaker encoder was asked for (`--speaker-encoder none`)")
BEGINNINGS = ("single", "double")
COMPAT = ("none", "soda")


@dataclasses.dataclass(frozen=True)
class TaskOutput:
    """Scores of a task, with the items they are computed from.

    Attributes:
        scores: Scores, in the order in which a report shows them.
        items: Items that the scores are computed from.
        facts: Further settings, derived from the data, such as limits of length.
    """

    scores: tuple[Score, ...]
    items: tuple[Item, ...]
    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """Model, data and outside models that a task works with.

    Attributes:
        checkpoint: Model with its vocabulary.
        datasets: Held-out datasets by name; the first is the main one, on which controls are measured. Empty for an
            evaluation on published test sets alone.
        folder: Folder of the evaluation; audio files go below its `audio`.
        transcriber: Transcriber of generated speech, or the reason why there is none.
        recordings: Original recordings by the base id of the utterances encoded from them, as far as available.
        limit: Maximum number of documents of each dataset.
        seed: Seed of untrained weights and of sampling.
        speaker_encoder: Speaker encoder for voice similarity, or the reason why there is none.
        codec_weights: Location of the codec's weights, if it differs from what the checkpoint records.
    """

    checkpoint: Checkpoint
    datasets: Mapping[str, TokenDataset]
    folder: Path
    transcriber: Transcriber | Unavailable
    recordings: Mapping[str, Utterance] = dataclasses.field(default_factory=dict)
    limit: int | None = None
    seed: int = 0
    speaker_encoder: SpeakerEncoder | Unavailable = NO_SPEAKER_ENCODER
    codec_weights: str | None = None

    @functools.cached_property
    def whole(self) -> Mapping[str, Sequence[HeldoutDocument]]:
        """All documents of each dataset, in the order in which `limit` takes them.

        Maximum lengths are derived from these, so that an item's result does not depend on the other items.
        """
        vocabulary = self.checkpoint.vocabulary
        return {name: read_documents(name, data, vocabulary) for name, data in self.datasets.items()}

    @property
    def documents(self) -> Mapping[str, Sequence[HeldoutDocument]]:
        """The documents of each dataset that are measured."""
        return {name: documents[: self.limit] for name, documents in self.whole.items()}

    @functools.cached_property
    def utterances(self) -> Mapping[str, Sequence[HeldoutUtterance]]:
        """The utterances of each dataset that are measured."""
        return {name: utterances(documents, self.checkpoint.text) for name, documents in self.documents.items()}

    @functools.cached_property
    def whole_utterances(self) -> Mapping[str, Sequence[HeldoutUtterance]]:
        """All utterances of each dataset; those within `limit` come first."""
        return {name: utterances(documents, self.checkpoint.text) for name, documents in self.whole.items()}

    @property
    def main_dataset(self) -> str:
        """Name of the dataset that controls are measured on.

        Raises:
            InputError: There is no held-out data.
        """
        if not self.datasets:
            raise InputError("a task on held-out data must have some, got none: give `--data` and `--heldout`")
        return next(iter(self.datasets))

    @property
    def codec_description(self) -> Mapping[str, Any]:
        """What is recorded of the codec: by the held-out data, else by the checkpoint, else by its vocabulary."""
        vocabulary = self.checkpoint.vocabulary
        recorded = self.datasets[self.main_dataset].manifest.codec if self.datasets else None
        found = dict(recorded or self.checkpoint.provenance.get("codec") or {})
        named = "mimi" if vocabulary.codec_id.startswith("mimi") else vocabulary.codec_id
        description = {"name": named, "id": vocabulary.codec_id, **found}
        if description["name"] == "mimi":
            description.setdefault("num_codebooks", vocabulary.num_codebooks)
        return description

    @functools.cached_property
    def codec(self) -> AbstractCodec:
        """The codec that made the model's audio tokens.

        Raises:
            InputError: The codec of that name has changed since.
        """
        expected = self.checkpoint.vocabulary.codec_id
        codec = load_codec(CodecSpec.from_description(self.codec_description, weights=self.codec_weights))
        if codec.codec_id != expected:
            raise InputError(
                f"the model's audio tokens are of codec {expected!r}, got {codec.codec_id!r}: use the version of "
                "audio-tokenize that encoded its data"
            )
        return codec

    def decode(self, codes: Int[np.ndarray, "frames codebooks"]) -> Float[np.ndarray, " samples"]:
        """Decode codes to mono samples in -1..1; no frames give no samples."""
        if not len(codes):
            return np.zeros(0, np.float32)
        return np.asarray(self.codec.decode(codes), np.float32)

    def reconstruction(self, utterance: HeldoutUtterance) -> str:
        """Decode an utterance's own codes, the upper bound of quality for a model of these codes.

        Returns:
            The path of the wav, relative to the evaluation's folder; every task gets the same one.
        """
        samples = self.decode(utterance.segment.codes)
        return self.save_audio(f"reconstructed/{utterance.dataset}/{utterance.id}", samples)

    def original(self, utterance: HeldoutUtterance) -> Float[np.ndarray, " samples"] | None:
        """Load the recording that an utterance was encoded from, where its corpus is available."""
        recording = self.recordings.get(utterance.base_id)
        if recording is None:
            return None
        rate_hz = int(self.codec.sample_rate_hz)
        return load_audio(recording.audio, rate_hz, recording.start_seconds, recording.end_seconds)

    def save_audio(self, name: str, samples: Float[np.ndarray, " samples"]) -> str:
        """Write samples as 16-bit wav.

        Args:
            name: Path below the audio folder, without the ending; each part is made safe for every file system.
            samples: Mono samples in -1..1 at the codec's rate.

        Returns:
            The file's path relative to the evaluation's folder.
        """
        safe = "/".join(re.sub(r"[^\w.-]+", "_", part).strip(".") or "_" for part in name.split("/"))
        relative = f"{AUDIO_FOLDER}/{safe}.wav"
        path = self.folder / relative
        make_folder(path.parent)
        with disk_errors(path), path.open("wb") as stream:
            rate_hz = int(self.codec.sample_rate_hz)
            soundfile.write(stream, np.clip(samples, -1.0, 1.0), rate_hz, format="WAV", subtype="PCM_16")
        return relative


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """One evaluation. Its fields are its settings, except those in `not_settings`.

    Attributes:
        name: Name of the task in results and on command lines: letters, digits, - and _.
        test_set: Published test set that the task reads; None for a task on held-out data.
        code_sha256: SHA-256 of the source file of a task from outside this package, so that results of changed code
            are measured again.
    """

    not_settings: ClassVar[frozenset[str]] = frozenset({"name", "test_set", "code_sha256"})
    name: str = dataclasses.field(kw_only=True)
    test_set: TestSetCard | None = dataclasses.field(default=None, kw_only=True)
    code_sha256: str = dataclasses.field(default="", kw_only=True)

    def __post_init__(self):
        """Refuse names that are no file names, and counts outside their range.

        Raises:
            InputError: The name or a count is outside its range.
        """
        if not _NAME.fullmatch(self.name):
            raise InputError(f"`name` of a task must be of letters, digits, - and _, got {self.name!r}; rename it")
        for name, value in self.settings().items():
            if value is not None and name in _MINIMA and value < _MINIMA[name]:
                raise InputError(f"`{self.name}.{name}` must be {_MINIMA[name]} or more, got {value!r}")

    def settings(self) -> dict[str, Any]:
        """Return the settings by name."""
        names = (field.name for field in dataclasses.fields(self) if field.name not in self.not_settings)
        return {name: getattr(self, name) for name in names}

    def check(self, context: Context) -> None:
        """Refuse settings that do not fit what is evaluated. Called for all tasks before the first one runs.

        Raises:
            InputError: There is such a setting.
        """
        del context

    def check_choice(self, setting: str, choices: Iterable[str]) -> None:
        """Refuse a setting that is none of its choices.

        Raises:
            InputError: The setting has another value.
        """
        value = self.settings()[setting]
        if value not in (known := list(choices)):
            raise InputError(f"`{self.name}.{setting}` must be one of {', '.join(known)}, got {value!r}")

    def fingerprint(self, context: Context) -> str:
        """Return a hash of the data that the task reads besides the held-out datasets; empty for none.

        Raises:
            InputError: That data is missing.
        """
        del context
        return ""

    @abc.abstractmethod
    def run(self, context: Context, journal: Journal) -> TaskOutput:
        """Measure; long work reports its progress on standard error.

        Args:
            context: Model and data.
            journal: Results of an earlier, stopped run of the task, and where to record new ones.
        """


@dataclasses.dataclass(frozen=True)
class BenchmarkTask(Task):
    """A task on a published test set, whose prompts can begin as the documents of training did.

    The public SODA evaluation scripts let the tokenizer put one `begin_of_text` before a prompt. The training documents
    of speech of SODA (arXiv 2602.16687) begin with two: they are written with one, and the tokenizer of Marin puts
    another before it.

    Attributes:
        test_set: Published test set.
        data: Folder of the test set, or a hub id.
        begin_of_text: "single" for one `begin_of_text`, as datasets are built by default; "double" for two.
    """

    test_set: TestSetCard = dataclasses.field(kw_only=True)
    data: str = ""
    begin_of_text: str = "single"

    def locate(self) -> Path:
        """Return the folder of the test set.

        Raises:
            InputError: It is missing.
        """
        return locate(self.data, self.test_set)

    def fingerprint(self, context: Context) -> str:
        """Return the hash of the test set's files."""
        del context
        return fingerprint_folder(self.locate())

    def check(self, context: Context) -> None:
        """Refuse an unknown beginning, or one that the public SODA scripts do not have together with `compat`."""
        del context
        self.check_choice("begin_of_text", BEGINNINGS)
        if "compat" in self.settings():
            self.check_choice("compat", COMPAT)
        if self.begin_of_text == "double" and self.settings().get("compat") == "soda":
            raise InputError(
                f"`{self.name}.begin_of_text` must be 'single' under `compat` 'soda', whose scripts put one before a "
                f"prompt, got {self.begin_of_text!r}: leave one of the two out"
            )

    def with_beginning(self, context: Context, ids: Int32[np.ndarray, " _"]) -> Int32[np.ndarray, " _"]:
        """Return a document or prompt that holds one `begin_of_text` with as many as the setting asks for."""
        if self.begin_of_text == "single":
            return ids
        return np.concatenate([np.array([context.checkpoint.vocabulary.begin_of_text], np.int32), ids])
