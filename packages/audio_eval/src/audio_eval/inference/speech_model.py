"""A trained model in use: it transcribes, speaks, continues and translates, whole or part by part while it works."""

import dataclasses
import functools
import io
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import soundfile
from jaxtyping import Float32, Int32

from audio_data import InputError, write_bytes
from audio_eval.checkpoint import Checkpoint, load_checkpoint
from audio_eval.decoding import audio_automaton, check_seed, fitting_length, text_automaton
from audio_eval.inference.abilities import (
    CONTINUE,
    SPEAK,
    TRANSCRIBE,
    TRANSLATE,
    AnswerLimits,
    ContextBudget,
    find_abilities,
    require_audio,
    split_context,
)
from audio_eval.speech_models import Unavailable
from audio_eval.tasks.asr import AsrTask
from audio_eval.tasks.base import Context
from audio_eval.tasks.seed_tts import SeedTtsTask
from audio_eval.tasks.speech_to_speech import ContinuationTask, SpeechTranslationTask
from audio_eval.tasks.tts import TtsTask
from audio_model import Sampling, TokenAutomaton, generate, stream
from audio_tokenize import AbstractCodec, Segment, layout, load_audio

Codes = Int32[np.ndarray, "_ codebooks"]
Ids = Int32[np.ndarray, " _"]
ROUTES = ("chain", "direct")
_TRANSCRIBING = Sampling(temperature=AsrTask.temperature, top_k=AsrTask.top_k, top_p=AsrTask.top_p)
_SPEAKING = Sampling(temperature=TtsTask.temperature, top_k=TtsTask.top_k, top_p=TtsTask.top_p)
_SPEAKING_AS = Sampling(temperature=SeedTtsTask.temperature, top_p=SeedTtsTask.top_p)
_CONTINUING = Sampling(temperature=ContinuationTask.temperature, top_p=ContinuationTask.top_p)
_TRANSLATING = Sampling(temperature=SpeechTranslationTask.temperature, top_p=SpeechTranslationTask.top_p)
_LANGUAGE = re.compile(r"[a-zA-Z]{2,16}([ _-][a-zA-Z]{2,16})*")
_NO_TEXT = np.zeros(0, np.int32)
_PAUSE_SECONDS = 0.1
Samples = Float32[np.ndarray, " _"]
Model = TypeVar("Model", bound="SpeechModel")
Recording: TypeAlias = str | Path | Float32[np.ndarray, " _"]


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
    """The state of an answer.

    Attributes:
        samples: Sound that follows that of earlier updates, mono in -1..1 at the codec's rate; often none.
        transcript: Transcript of the recording so far; None in updates that do not change it.
        written: The translation, likewise.
        ended: In the last update: whether the model generated the end, not cut off at the maximum length. False before.
    """

    samples: Float32[np.ndarray, " samples"]
    transcript: str | None = None
    written: str | None = None
    ended: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Speech:
    """Generated speech.

    Attributes:
        samples: Mono samples in -1..1.
        sample_rate_hz: Their rate.
        ended: Whether the model generated the end; False where it was cut off at the maximum length.
        transcript: What the model wrote of the recording first; None where it wrote nothing.
        written: The translation that it wrote before it spoke, likewise.
    """

    samples: Float32[np.ndarray, " samples"]
    sample_rate_hz: int
    ended: bool
    transcript: str | None = None
    written: str | None = None

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.sample_rate_hz

    def wav(self) -> bytes:
        """Return the speech as a WAV file of 16 bits."""
        stream = io.BytesIO()
        soundfile.write(stream, self.samples, self.sample_rate_hz, format="WAV", subtype="PCM_16")
        return stream.getvalue()

    def save(self, path: str | Path) -> None:
        """Write a WAV file of 16 bits, which replaces one that is there.

        Raises:
            InputError: The disk refuses.
        """
        write_bytes(Path(path), self.wav())


@dataclasses.dataclass(frozen=True, eq=False)
class SpeechModel:
    """A model and its codec, ready for requests.

    `transcribe`, `speak`, `continue_speech` and `translate` return a whole answer. The methods that begin with
    `stream_` give updates while they work; closing their iterator stops the work. Prompts and sampling are those of the
    evaluation tasks of the same names, and answers are drawn under the grammar of documents.

    A recording is the path of an audio file, or mono samples at the codec's rate.

    Attributes:
        checkpoint: The model, its vocabulary and its text tokenizer.
        codec: Codec of its audio tokens.
        limits: Limits of one request.
    """

    checkpoint: Checkpoint
    codec: AbstractCodec
    limits: AnswerLimits = dataclasses.field(default_factory=AnswerLimits)

    @classmethod
    def load(
        cls: type[Model],
        checkpoint: str | Path,
        *,
        limits: AnswerLimits | None = None,
        codec_weights: str | None = None,
    ) -> Model:
        """Load a model with its codec.

        Args:
            checkpoint: Folder of an exported model, or of a run, or a published one, see `audio_eval.load_checkpoint`.
            limits: Limits of one request.
            codec_weights: Location of Mimi's weights, if it differs from what the checkpoint records.

        Raises:
            InputError: A part is missing, parts do not belong together, or the model has no audio tokens.
        """
        loaded = load_checkpoint(Path(checkpoint))
        require_audio(loaded)
        none = Unavailable("nothing is evaluated here")
        context = Context(loaded, datasets={}, folder=loaded.folder, transcriber=none, codec_weights=codec_weights)
        return cls(loaded, context.codec) if limits is None else cls(loaded, context.codec, limits)

    @functools.cached_property
    def budget(self) -> ContextBudget:
        """Division of the model's context."""
        return split_context(self.checkpoint, self.codec.frame_rate_hz, self.limits)

    @functools.cached_property
    def abilities(self) -> Mapping[str, str | None]:
        """For transcribe, speak, continue and translate None, or the reason why the model lacks it."""
        return find_abilities(self.checkpoint, self.budget)

    def transcribe(self, recording: Recording) -> str:
        """Transcribe a recording, greedily.

        One that is longer than the model's context allows is cut at its quietest moments, and the transcripts of the
        pieces are joined.

        Args:
            recording: Speech.

        Raises:
            InputError: The recording is no audio, or the model cannot transcribe.
        """
        (transcript,) = self.transcribe_batch([recording])
        return transcript

    def transcribe_batch(self, recordings: Sequence[Recording], *, batch_size: int = 8) -> list[str]:
        """Transcribe several recordings, some of them at a time.

        Args:
            recordings: Speech, as for `transcribe`.
            batch_size: Pieces of recordings that are transcribed together.

        Returns:
            One transcript for each recording.

        Raises:
            InputError: As for `transcribe`.
        """
        self.require(TRANSCRIBE)
        rate_hz, owners, prompts = self.codec.sample_rate_hz, list[int](), list[Ids]()
        for number, recording in enumerate(recordings):
            for piece in split_at_pauses(self.read_audio(recording), rate_hz, self.budget.max_input_seconds):
                owners.append(number)
                prompts.append(self._prompt("audio_first", [self._segment(_NO_TEXT, self._codes(piece))]))
        vocabulary = self.checkpoint.vocabulary
        found = generate(
            self.checkpoint.model,
            prompts,
            max_new_tokens=self.budget.text_tokens + 1,
            stop_ids=(vocabulary.text_end,),
            sampling=_TRANSCRIBING,
            automaton=self._text_automaton(),
            batch_size=batch_size,
        )
        texts = [self._decode(ids[ids != vocabulary.text_end]) for ids in found]
        said = [[text for owner, text in zip(owners, texts, strict=True) if owner == n] for n in range(len(recordings))]
        return [" ".join(filter(None, parts)) for parts in said]

    def speak(self, text: str, voice: Recording | None = None, voice_text: str = "", *, seed: int = 0) -> Speech:
        """Speak a text; see `stream_speech`."""
        return self._whole(self.stream_speech(text, voice, voice_text, seed=seed))

    def continue_speech(
        self, recording: Recording, seconds: float | int = ContinuationTask.prompt_seconds, *, seed: int = 0
    ) -> Speech:
        """Continue the beginning of a recording; see `stream_continuation`."""
        return self._whole(self.stream_continuation(recording, seconds, seed=seed))

    def translate(
        self,
        recording: Recording,
        source: str,
        target: str,
        *,
        route: str | None = None,
        seed: int = 0,
    ) -> Speech:
        """Translate speech to speech of another language; see `stream_translation`."""
        return self._whole(self.stream_translation(recording, source, target, route=route, seed=seed))

    def read_audio(self, recording: Recording) -> Samples:
        """Return the samples of a recording, mono at the codec's rate.

        Raises:
            InputError: It is no audio that can be decoded.
        """
        if isinstance(recording, np.ndarray):
            return np.asarray(recording, np.float32)
        return load_audio(Path(recording), self.codec.sample_rate_hz)

    def stream_transcript(self, recording: Recording) -> Generator[Update, None, None]:
        """Transcribe a recording, greedily.

        Args:
            recording: Recording of speech.

        Raises:
            InputError: At the first update: the recording is no audio or too long, or the model cannot transcribe.
        """
        self.require(TRANSCRIBE)
        yield from self._transcribe(self._encode(recording))

    def stream_speech(
        self, text: str, voice: Recording | None = None, voice_text: str = "", *, seed: int = 0
    ) -> Generator[Update, None, None]:
        """Speak a text, in the voice of a recording if there is one.

        Args:
            text: What to say.
            voice: Someone speaking; None for a voice of the model's choice. A model that was trained on documents of
                one utterance each says little after another.
            voice_text: What is said there; where it is not given the model transcribes it first.
            seed: Drives the draws, in [0, 2**32).

        Raises:
            InputError: At the first update: no text, too long a text or recording, no such seed, or the model cannot
                speak.
        """
        self.require(SPEAK, seed)
        wanted = self._text_ids(text, "text")
        if voice is None:
            yield from self._speak(self._prompt("text_first", [self._segment(wanted)]), _SPEAKING, seed)
            return
        codes, transcript = self._encode(voice), voice_text.strip()
        if not transcript:
            for update in self._transcribe(codes):
                transcript = update.transcript or ""
                yield dataclasses.replace(update, ended=False)
        shown = self._segment(self._text_ids(transcript, "voice_text"), codes)
        yield from self._speak(self._prompt("text_first", [shown, self._segment(wanted)]), _SPEAKING_AS, seed)

    def stream_continuation(
        self, recording: Recording, seconds: float | int = ContinuationTask.prompt_seconds, *, seed: int = 0
    ) -> Generator[Update, None, None]:
        """Continue the beginning of a recording; the sound begins with that, as the codec reconstructs it.

        Args:
            recording: What begins.
            seconds: How much of it is given, at least one frame; all where it is shorter.
            seed: Drives the draws, in [0, 2**32).

        Raises:
            InputError: At the first update: the recording is no audio or too long, or leaves no space for the answer;
                or there is no such seed.
        """
        self.require(CONTINUE, seed)
        frames = max(1, round(seconds * self.codec.frame_rate_hz))
        given = self._encode(recording)[:frames]
        start = self._prompt("acoustic", [self._segment(_NO_TEXT, given)])
        prompt = np.concatenate([start, self.checkpoint.vocabulary.audio_ids(given)])
        yield from self._speak(prompt, _CONTINUING, seed, given=given)

    def stream_translation(
        self,
        recording: Recording,
        source: str,
        target: str,
        *,
        route: str | None = None,
        seed: int = 0,
    ) -> Generator[Update, None, None]:
        """Translate speech to speech of another language.

        Args:
            recording: Recording of speech.
            source: Its language as the training data names it, such as "de" or "German"; not used on the direct route.
            target: The language to speak.
            route: "chain": the model writes both texts first; "direct": the prompt has the languages only. None for
                "direct" if the model is known to have no documents of the other kind, else "chain".
            seed: Drives the draws, in [0, 2**32).

        Raises:
            InputError: At the first update: no such route or seed, no name of a language, or a recording too long.
        """
        self.require(TRANSLATE, seed)
        if route is None:
            layouts = self.checkpoint.layouts or frozenset()
            chained = not layouts or any(name.startswith("speech_translation") for name in layouts)
            route = "chain" if chained else "direct"
        if route not in ROUTES:
            raise InputError(f"`route` must be one of {', '.join(ROUTES)}, got {route!r}")
        told = {name: self._told(name, value) for name, value in (("source", source), ("target", target))}
        opened = self._prompt("audio_first", [self._segment(_NO_TEXT, self._encode(recording))])
        if route == "direct":
            prompt = np.concatenate([opened, told["target"]])
        else:
            prompt = yield from self._write_both(opened, told, dataclasses.replace(_TRANSLATING, seed=seed))
        after = (self.checkpoint.vocabulary.text_end, self.checkpoint.vocabulary.audio_start)
        yield from self._speak(np.concatenate([prompt, np.array(after, np.int32)]), _TRANSLATING, seed)

    def require(self, ability: str, seed: int = 0) -> None:
        """Check that the model can do something.

        Args:
            ability: One of `abilities`.
            seed: Checked as well.

        Raises:
            InputError: It cannot, or there is no such seed; the message has the reason.
        """
        check_seed(seed)
        if reason := self.abilities[ability]:
            raise InputError(f"`{self.checkpoint.folder}` cannot {ability}: {reason}")

    def _encode(self, recording: Recording) -> Codes:
        return self._codes(self.read_audio(recording))

    def _codes(self, samples: Samples) -> Codes:
        """Return the codes of the leading codebooks in the model's vocabulary."""
        return np.asarray(self.codec.encode(samples), np.int32)[:, : self.budget.frame_tokens]

    def _whole(self, updates: Iterable[Update]) -> Speech:
        found = list(updates)
        transcript, written = (
            next((value for update in reversed(found) if (value := getattr(update, name)) is not None), None)
            for name in ("transcript", "written")
        )
        samples = np.concatenate([update.samples for update in found])
        return Speech(samples, self.codec.sample_rate_hz, found[-1].ended, transcript, written)

    def _text_automaton(self) -> TokenAutomaton:
        return text_automaton(
            self.checkpoint.vocabulary,
            max_tokens=self.budget.text_tokens,
            vocab_size=self.checkpoint.model.config.vocab_size,
        )

    def _text_ids(self, text: str, name: str) -> Ids:
        text = text.strip()
        if not 0 < len(text) <= self.limits.max_characters:
            raise InputError(f"`{name}` must have 1 to {self.limits.max_characters} characters, got {len(text)!r}")
        return np.array(self.checkpoint.text.encode(text), np.int32)

    def _told(self, name: str, language: str) -> Ids:
        if not _LANGUAGE.fullmatch(language.strip()):
            raise InputError(f"`{name}` must name a language in letters, such as 'de' or 'German', got {language!r}")
        rendered = layout("direct_speech_translation").render("", language=language.strip())
        return np.array(self.checkpoint.text.encode(rendered), np.int32)

    def _segment(self, text_ids: Ids, codes: Codes | None = None) -> Segment:
        return Segment(text_ids, np.zeros((0, self.budget.frame_tokens), np.int32) if codes is None else codes)

    def _prompt(self, order: str, segments: Sequence[Segment]) -> Ids:
        return layout(order).prompt(segments, self.checkpoint.vocabulary)

    def _decode(self, ids: Ids) -> str:
        return self.checkpoint.text.decode(ids.tolist()).strip()

    def _transcribe(self, codes: Codes) -> Generator[Update, None, None]:
        ids, prompt = _NO_TEXT, self._prompt("audio_first", [self._segment(_NO_TEXT, codes)])
        for ids in stream_text(self.checkpoint, self.budget, prompt, _TRANSCRIBING):
            yield Update(_silence(), transcript=self._decode(ids))
        yield Update(_silence(), transcript=self._decode(ids), ended=ids.size < self.budget.text_tokens)

    def _write_both(self, opened: Ids, told: Mapping[str, Ids], sampling: Sampling) -> Generator[Update, None, Ids]:
        """Write the transcript, then its translation; return the prompt that holds both."""
        vocabulary, ids = self.checkpoint.vocabulary, _NO_TEXT
        prompt, shown = np.concatenate([opened, told["source"]]), Update(_silence())
        for ids in stream_text(self.checkpoint, self.budget, prompt, sampling):
            yield (shown := Update(_silence(), transcript=self._decode(ids)))
        between = np.array([vocabulary.text_end, vocabulary.text_start], np.int32)
        prompt = np.concatenate([prompt, ids, between, told["target"]])
        for ids in stream_text(self.checkpoint, self.budget, prompt, sampling):
            yield dataclasses.replace(shown, written=self._decode(ids))
        return np.concatenate([prompt, ids])

    def _speak(
        self, prompt: Ids, sampling: Sampling, seed: int, given: Codes | None = None
    ) -> Generator[Update, None, None]:
        """Generate the speech that follows a prompt, after what was given of it."""
        max_frames = max_continuation_frames(self.budget, prompt, self.limits.max_frames)
        decoder, num_frames = self.codec.decoder_stream(), 0
        if given is not None:
            yield Update(decoder.push(given))
        for codes in stream_frames(self.checkpoint, prompt, dataclasses.replace(sampling, seed=seed), max_frames):
            num_frames += len(codes)
            yield Update(decoder.push(codes))
        yield Update(decoder.finish(), ended=num_frames < max_frames)


def _silence() -> Float32[np.ndarray, " samples"]:
    return np.zeros(0, np.float32)


def load(checkpoint: str | Path, *, codec_weights: str | None = None) -> SpeechModel:
    """Load a model to use: `load("RUN").transcribe("speech.wav")`.

    Args:
        checkpoint: Folder of an exported model, or of a run, or a published one, see `audio_eval.load_checkpoint`.
        codec_weights: Location of Mimi's weights, if it differs from what the checkpoint records.

    Raises:
        InputError: A part is missing, parts do not belong together, or the model has no audio tokens.
    """
    return SpeechModel.load(checkpoint, codec_weights=codec_weights)


def split_at_pauses(samples: Samples, sample_rate_hz: int, max_seconds: float) -> list[Samples]:
    """Cut samples into pieces, each at the quietest moment of the second half of what may be in it.

    Args:
        samples: Mono samples.
        sample_rate_hz: Their rate.
        max_seconds: Longest piece.

    Returns:
        The pieces in order; together they are the samples.
    """
    longest, window = max(2, int(max_seconds * sample_rate_hz)), max(1, int(_PAUSE_SECONDS * sample_rate_hz))
    pieces = []
    while len(samples) > longest:
        candidates = samples[longest // 2 : longest]
        energy = np.convolve(candidates**2, np.ones(min(window, len(candidates)), np.float32), mode="same")
        end = longest // 2 + max(1, int(energy.argmin()))
        pieces.append(samples[:end])
        samples = samples[end:]
    return [*pieces, samples]


MIN_FRAMES = SpeechTranslationTask.min_frames
# A sixth of a second: sound starts soon, and a piece costs little besides its tokens.
_FRAMES_PER_PIECE = 2
_TOKENS_PER_PIECE = 4


def stream_text(
    checkpoint: Checkpoint, budget: ContextBudget, prompt: Int32[np.ndarray, " prompt"], sampling: Sampling
) -> Iterator[Int32[np.ndarray, " _"]]:
    """Write the text that follows a prompt, until `text_end` or the maximum length.

    Args:
        checkpoint: The model and its vocabulary.
        budget: Its context.
        prompt: Ids that end where a text begins.
        sampling: How tokens are chosen.

    Yields:
        All its ids so far, at least once, possibly none.

    Raises:
        InputError: The prompt leaves no space.
    """
    vocabulary, max_tokens = checkpoint.vocabulary, budget.text_tokens
    _check_length(budget, prompt, max_tokens + 1, "text to be written")
    ids = np.zeros(0, np.int32)
    for piece in stream(
        checkpoint.model,
        prompt,
        max_new_tokens=max_tokens + 1,
        tokens_per_piece=_TOKENS_PER_PIECE,
        stop_ids=(vocabulary.text_end,),
        sampling=sampling,
        automaton=text_automaton(vocabulary, max_tokens=max_tokens, vocab_size=checkpoint.model.config.vocab_size),
    ):
        ids = np.concatenate([ids, piece[piece != vocabulary.text_end]])
        yield ids


def stream_frames(
    checkpoint: Checkpoint, prompt: Int32[np.ndarray, " prompt"], sampling: Sampling, max_frames: int
) -> Iterator[Int32[np.ndarray, "frames codebooks"]]:
    """Generate the speech that follows a prompt, until `audio_end`.

    Args:
        checkpoint: The model and its vocabulary.
        prompt: Ids that end where a frame begins.
        sampling: How tokens are chosen.
        max_frames: Maximum frames, see `max_continuation_frames`.

    Yields:
        The next frames, one or more.
    """
    vocabulary, vocab_size = checkpoint.vocabulary, checkpoint.model.config.vocab_size
    books = vocabulary.num_codebooks
    for piece in stream(
        checkpoint.model,
        prompt,
        max_new_tokens=max_frames * books + 1,
        tokens_per_piece=books * _FRAMES_PER_PIECE,
        stop_ids=(vocabulary.audio_end,),
        sampling=sampling,
        automaton=audio_automaton(
            vocabulary, min_frames=min(MIN_FRAMES, max_frames), max_frames=max_frames, vocab_size=vocab_size
        ),
    ):
        said = piece[piece != vocabulary.audio_end]
        if said.size:
            yield vocabulary.codes(said)


def max_continuation_frames(budget: ContextBudget, prompt: Int32[np.ndarray, " prompt"], limit: int) -> int:
    """Return the maximum number of frames that can follow a prompt.

    Args:
        budget: Context of the model.
        prompt: Ids of the prompt.
        limit: Maximum number of frames to return.

    Raises:
        InputError: The prompt leaves no space for the minimum frames of an answer.
    """
    _check_length(budget, prompt, MIN_FRAMES * budget.frame_tokens + 1, "speech to follow")
    return fitting_length(budget.context - prompt.size, budget.frame_tokens, min_units=MIN_FRAMES, max_units=limit)


def _check_length(budget: ContextBudget, prompt: Int32[np.ndarray, " prompt"], needed: int, what: str) -> None:
    surplus = prompt.size + needed - budget.context
    if surplus > 0:
        second = budget.frame_tokens * budget.frame_rate_hz
        raise InputError(
            f"the request must leave {needed} of the model's {budget.context} tokens for {what}, got {prompt.size} "
            f"tokens: give {surplus / second:.1f} s less speech (a second is {second:g} tokens) or a shorter text"
        )
