"""A model that answers requests: recordings and texts in, texts and speech out, each part as soon as it is made."""

import dataclasses
import functools
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from audio_data import InputError
from audio_eval.checkpoint import Checkpoint, load_checkpoint
from audio_eval.decoding import audio_automaton, check_seed, fitting_length, text_automaton
from audio_eval.demo.abilities import (
    CONTINUE,
    SPEAK,
    TRANSCRIBE,
    TRANSLATE,
    ContextBudget,
    find_abilities,
    require_audio,
    split_context,
)
from audio_eval.demo.limits import Limits, read_recording
from audio_eval.speech_models import Unavailable
from audio_eval.tasks.asr import AsrTask
from audio_eval.tasks.base import Context
from audio_eval.tasks.seed_tts import SeedTtsTask
from audio_eval.tasks.speech_to_speech import ContinuationTask, SpeechTranslationTask
from audio_eval.tasks.tts import TtsTask
from audio_model import Sampling, stream
from audio_tokenize import AbstractCodec, Segment, layout

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
class DemoSession:
    """A checkpoint and its codec, ready for requests.

    All four methods give updates while they work; closing their iterator stops the work. Prompts and sampling are those
    of the tasks of the same names. Recordings are paths of audio files, checked against the limits.

    Attributes:
        checkpoint: The model, its vocabulary and its text tokenizer.
        codec: Codec of its audio tokens.
        limits: Limits of one request.
    """

    checkpoint: Checkpoint
    codec: AbstractCodec
    limits: Limits = dataclasses.field(default_factory=Limits)

    @functools.cached_property
    def budget(self) -> ContextBudget:
        """Division of the model's context."""
        return split_context(self.checkpoint, self.codec.frame_rate_hz, self.limits)

    @functools.cached_property
    def abilities(self) -> Mapping[str, str | None]:
        """For transcribe, speak, continue and translate None, or the reason why the model lacks it."""
        return find_abilities(self.checkpoint, self.budget)

    def transcribe(self, recording: Path) -> Generator[Update, None, None]:
        """Transcribe a recording, greedily.

        Args:
            recording: Recording of speech.

        Raises:
            InputError: At the first update: the recording is no audio or too long, or the model has no text.
        """
        self._require(TRANSCRIBE)
        yield from self._transcribe(self._encode(recording))

    def speak(
        self, text: str, voice: Path | None = None, voice_text: str = "", *, seed: int = 0
    ) -> Generator[Update, None, None]:
        """Speak a text, in the voice of a recording if there is one.

        Args:
            text: What to say.
            voice: Someone speaking; None for a voice of the model's choice.
            voice_text: What is said there; where it is not given the model transcribes it first.
            seed: Drives the draws, in [0, 2**32).

        Raises:
            InputError: At the first update: no text, too long a text or recording, or no such seed.
        """
        self._require(SPEAK, seed)
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

    def continue_speech(
        self, recording: Path, seconds: float | int = ContinuationTask.prompt_seconds, *, seed: int = 0
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
        self._require(CONTINUE, seed)
        frames = max(1, round(seconds * self.codec.frame_rate_hz))
        given = self._encode(recording)[:frames]
        start = self._prompt("acoustic", [self._segment(_NO_TEXT, given)])
        prompt = np.concatenate([start, self.checkpoint.vocabulary.audio_ids(given)])
        yield from self._speak(prompt, _CONTINUING, seed, given=given)

    def translate(
        self, recording: Path, source: str, target: str, *, route: str = SpeechTranslationTask.route, seed: int = 0
    ) -> Generator[Update, None, None]:
        """Translate speech to speech of another language.

        Args:
            recording: Recording of speech.
            source: Its language as the training data names it, such as "de" or "German"; not used on the direct route.
            target: The language to speak.
            route: "chain": the model writes both texts first; "direct": the prompt has the languages only.
            seed: Drives the draws, in [0, 2**32).

        Raises:
            InputError: At the first update: no such route or seed, no name of a language, or a recording too long.
        """
        self._require(TRANSLATE, seed)
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

    def _require(self, ability: str, seed: int = 0) -> None:
        check_seed(seed)
        if reason := self.abilities[ability]:
            raise InputError(f"`{self.checkpoint.folder}` cannot {ability}: {reason}")

    def _encode(self, recording: Path) -> Codes:
        """Return the codes of a recording, of the leading codebooks in the model's vocabulary."""
        samples = read_recording(recording, self.codec.sample_rate_hz, self.limits)
        return np.asarray(self.codec.encode(samples), np.int32)[:, : self.budget.frame_tokens]

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


def open_session(
    checkpoint: str | Path, *, limits: Limits | None = None, codec_weights: str | None = None
) -> DemoSession:
    """Load what the demo needs.

    Args:
        checkpoint: Folder of an exported model, or of a run, or a published one, see `audio_eval.load_checkpoint`.
        limits: Limits of one request.
        codec_weights: Location of Mimi's weights, if it differs from what the checkpoint records.

    Raises:
        InputError: A part is missing, parts do not belong together, or the model has no audio tokens.
    """
    loaded = load_checkpoint(Path(checkpoint))
    require_audio(loaded)
    none = Unavailable("the demo transcribes nothing")
    context = Context(loaded, datasets={}, folder=loaded.folder, transcriber=none, codec_weights=codec_weights)
    return DemoSession(loaded, context.codec, limits or Limits())


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
