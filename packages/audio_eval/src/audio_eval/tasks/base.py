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

from audio_data import InputError, TokenDataset, disk_errors, make_folder
from audio_eval.checkpoint import Checkpoint
from audio_eval.heldout import HeldoutDocument, HeldoutUtterance, read_documents, utterances
from audio_eval.journal import Journal
from audio_eval.judges import Judge, SpeakerJudge, Unavailable
from audio_eval.scores import Item, Score
from audio_tokenize import AbstractCodec, CodecSpec, Utterance, load_audio, load_codec

AUDIO_FOLDER = "audio"
# The least that settings of these names can be, in every task that has them.
_LEAST = {"batch_size": 1, "tokens_per_batch": 1, "num_items": 1, "max_tokens": 1, "max_frames": 1, "min_frames": 0}
_LEAST |= {"shots": 0, "num_kept_audio": 0}
_NAME = re.compile(r"[A-Za-z0-9_-]+")
NO_SPEAKER_JUDGE = Unavailable("no speaker judge was asked for (`--speaker-judge none`)")


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
        datasets: Held-out data sets by name; the first is the main one, on which controls are measured. None for an
            evaluation on published test sets alone.
        folder: Folder of the evaluation; sounds go below its `audio`.
        judge: Transcriber of generated speech, or why there is none.
        recordings: Original recordings by the base id of the utterances encoded from them, as far as they are at hand.
        limit: At most this many documents of each data set.
        seed: Drives untrained weights and sampling.
        speaker_judge: Judge of whether two clips are of one voice, or why there is none.
        codec_weights: Where the codec's weights lie now, if not where the checkpoint says.
    """

    checkpoint: Checkpoint
    datasets: Mapping[str, TokenDataset]
    folder: Path
    judge: Judge
    recordings: Mapping[str, Utterance] = dataclasses.field(default_factory=dict)
    limit: int | None = None
    seed: int = 0
    speaker_judge: SpeakerJudge = NO_SPEAKER_JUDGE
    codec_weights: str | None = None

    @functools.cached_property
    def whole(self) -> Mapping[str, Sequence[HeldoutDocument]]:
        """The documents of each data set, whatever the limit, in the order in which a limit takes them.

        Limits of length follow from these, so that an item's result does not change with the items beside it.
        """
        vocabulary = self.checkpoint.vocabulary
        return {name: read_documents(name, data, vocabulary) for name, data in self.datasets.items()}

    @property
    def documents(self) -> Mapping[str, Sequence[HeldoutDocument]]:
        """The documents of each data set that are measured."""
        return {name: documents[: self.limit] for name, documents in self.whole.items()}

    @functools.cached_property
    def utterances(self) -> Mapping[str, Sequence[HeldoutUtterance]]:
        """The utterances of each data set that are measured."""
        return {name: utterances(documents, self.checkpoint.text) for name, documents in self.documents.items()}

    @functools.cached_property
    def whole_utterances(self) -> Mapping[str, Sequence[HeldoutUtterance]]:
        """The utterances of each data set, whatever the limit; those that are measured come first."""
        return {name: utterances(documents, self.checkpoint.text) for name, documents in self.whole.items()}

    @property
    def main_dataset(self) -> str:
        """Name of the data set that controls are measured on.

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
        wanted = self.checkpoint.vocabulary.codec_id
        codec = load_codec(CodecSpec.from_description(self.codec_description, weights=self.codec_weights))
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
        make_folder(path.parent)
        with disk_errors(path), path.open("wb") as stream:
            rate_hz = int(self.codec.sample_rate_hz)
            soundfile.write(stream, np.clip(samples, -1.0, 1.0), rate_hz, format="WAV", subtype="PCM_16")
        return relative


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """One evaluation. Its fields are its settings and go into its fingerprint.

    A task on a published test set has a setting `data`, its folder or hub id, and a `test_set`: the name of the folder
    among several test sets, as `audio-eval testset` writes their twins. One without a `test_set` reads held-out data.

    Attributes:
        code_sha256: SHA-256 of the source file of a task from outside this package, so that results of changed code
            are measured again; not a setting.
    """

    name: ClassVar[str]
    test_set: ClassVar[str] = ""
    code_sha256: str = dataclasses.field(default="", kw_only=True)

    def __post_init__(self):
        """Refuse names that are no file names, and counts that mean nothing.

        Raises:
            InputError: The name or a count is outside its range.
        """
        if not _NAME.fullmatch(self.name):
            raise InputError(f"`name` of a task must be of letters, digits, - and _, got {self.name!r}; rename it")
        for name, value in self.settings().items():
            if value is not None and name in _LEAST and value < _LEAST[name]:
                raise InputError(f"`{self.name}.{name}` must be {_LEAST[name]} or more, got {value!r}")

    def settings(self) -> dict[str, Any]:
        """Return the settings by name: all fields but the hash of the code."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "code_sha256"}

    def check(self, context: Context) -> None:
        """Refuses settings that mean nothing for what is evaluated; asked of all tasks before the first one runs.

        Raises:
            InputError: There is such a setting.
        """
        del context

    def fingerprint(self, context: Context) -> str:
        """Returns a hash of the data that the task reads beside the held-out data sets; empty for none.

        Raises:
            InputError: That data is not there.
        """
        del context
        return ""

    @abc.abstractmethod
    def run(self, context: Context, journal: Journal) -> Findings:
        """Measures; long work reports progress to standard error.

        Args:
            context: What to measure on.
            journal: What an earlier, stopped run of the task has done already, and where to note what is done.
        """
