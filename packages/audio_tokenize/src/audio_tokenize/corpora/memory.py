"""A corpus whose utterances are all listed in memory; only their audio stays where it is."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audio_data import InputError
from audio_tokenize.corpora.corpus import AbstractCorpus, CorpusShard, Skipped, Utterance
from audio_tokenize.waveform import AudioSource

UTTERANCES_PER_SHARD = 256


@dataclass(frozen=True)
class Corpus(AbstractCorpus):
    """Utterances sorted by recording and, inside a recording, by time.

    Attributes:
        name: Short name, used for datasets made of it.
        licence: Terms of the audio and the texts, `unknown` for a user's own.
        utterances: At least one.
        skipped: What was left out of `utterances` while it was opened, with the reason.
    """

    name: str
    licence: str
    utterances: tuple[Utterance, ...]
    skipped: tuple[Skipped, ...] = ()

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def seconds(self) -> float:
        """Duration of all utterances together."""
        return sum(utterance.seconds for utterance in self.utterances)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in alphabetical order."""
        return self._values("split")

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names of the speakers, in alphabetical order."""
        return self._values("speaker")

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages, in alphabetical order."""
        return self._values("language")

    def select(
        self, *, split: str | Sequence[str] | None = None, speaker: str | None = None, language: str | None = None
    ) -> "Corpus":
        """Keep the utterances of one split or several, of one speaker or language; None keeps all.

        Raises:
            InputError: If one of them has no utterance; names the values there are.
        """
        chosen = self.utterances
        for attribute, value in {"split": split, "speaker": speaker, "language": language}.items():
            if value is None:
                continue
            values = (value,) if isinstance(value, str) else value
            known = sorted({getattr(utterance, attribute) for utterance in chosen})
            for value in values:
                if value not in known:
                    raise InputError(f"`{attribute}` of corpus `{self.name}`: expected one of {known}, got {value!r}")
            chosen = tuple(utterance for utterance in chosen if getattr(utterance, attribute) in values)
        return replace(self, utterances=chosen)

    def shards(self, utterances_per_shard: int = UTTERANCES_PER_SHARD) -> tuple[CorpusShard, ...]:
        """Cuts the utterances into runs, named by where they begin and how long they may be, as `00000256-256`.

        Args:
            utterances_per_shard: Utterances of a shard; the last one may have fewer.
        """
        if utterances_per_shard < 1:
            raise InputError(f"`utterances_per_shard` must be at least 1, got {utterances_per_shard!r}")
        return tuple(
            self._shard(start, utterances_per_shard) for start in range(0, len(self.utterances), utterances_per_shard)
        )

    def input_files(self, shard: CorpusShard) -> tuple[Path, ...]:
        """Return the recordings of `shard`, each once."""
        start, length = _run(shard.name)
        run = self.utterances[start : start + length]
        return tuple(sorted({utterance.audio for utterance in run if isinstance(utterance.audio, Path)}))

    def read(self, shard: CorpusShard) -> Iterator[Utterance | Skipped]:
        """Yield the utterances of `shard`; the first shard begins with what was skipped while the corpus was opened.

        Raises:
            InputError: If `shard` is not of this corpus, or the corpus has changed since it was listed.
        """
        start, length = _run(shard.name)
        if not (start < len(self.utterances) and self._shard(start, length) == shard):
            raise InputError(
                f"shard `{shard.name}` of corpus `{self.name}`: expected one of its shards, got one of other contents; "
                "list the shards again"
            )
        if start == 0:
            yield from self.skipped
        yield from self.utterances[start : start + length]

    def _shard(self, start: int, length: int) -> CorpusShard:
        run = self.utterances[start : start + length]
        return CorpusShard(
            name=f"{start:08d}-{length}",
            fingerprint=_fingerprint(run),
            num_utterances=len(run),
            seconds=sum(utterance.seconds for utterance in run),
        )

    def _values(self, attribute: str) -> tuple[str, ...]:
        return tuple(sorted({getattr(utterance, attribute) for utterance in self.utterances}))


def _run(name: str) -> tuple[int, int]:
    """Where a shard of that name begins and how many utterances it may have."""
    start, _, length = name.partition("-")
    if not (start.isdecimal() and length.isdecimal() and int(length) > 0):
        raise InputError(f"shard `{name}`: expected a name such as `00000256-256`; list the shards of this corpus")
    return int(start), int(length)


def _fingerprint(utterances: Sequence[Utterance]) -> str:
    """Return a fingerprint of texts, cuts, labels and audio files; the corpus's folder does not change it."""
    digest = hashlib.sha256()
    sizes: dict[Path, int | None] = {}
    for utterance in utterances:
        audio = utterance.audio
        fields = vars(utterance) | {"audio": Path(str(audio)).name, "audio_bytes": _num_bytes(audio, sizes)}
        digest.update(json.dumps(fields, sort_keys=True, default=dict).encode())
    return digest.hexdigest()


def _num_bytes(audio: AudioSource, sizes: dict[Path, int | None]) -> int | None:
    """Size of an audio file, None where it has gone; each path is asked for once."""
    if not isinstance(audio, Path):
        return len(audio.content)
    if audio not in sizes:
        sizes[audio] = audio.stat().st_size if audio.is_file() else None
    return sizes[audio]
