"""Text tasks through lm-eval-harness, where it is installed: HellaSwag, MMLU and all others it has.

A text is the document `begin_of_text T`, as the models read text in training. Likelihoods come from the same core as
those of the other tasks.
"""

import collections
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audio_data import InputError, install_command
from audio_eval.checkpoint import Checkpoint, load_checkpoint
from audio_eval.decoding import continue_prompts
from audio_eval.scoring import scored_documents
from audio_model import Sampling, TokenSets

DEFAULT_NEW_TOKENS = 256


class TextModel:
    """The requests of the harness to a model, in plain Python: strings in, numbers and strings out."""

    def __init__(self, checkpoint: Checkpoint, *, batch_size: int = 16, tokens_per_batch: int | None = None):
        """Wrap a checkpoint.

        Args:
            checkpoint: The model.
            batch_size: Prompts continued together.
            tokens_per_batch: Tokens of a forward pass, padding included; None for 2,048 on a CPU and 8,192 elsewhere.
        """
        self._checkpoint = checkpoint
        self._batch_size, self._tokens_per_batch = batch_size, tokens_per_batch

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Log-likelihood in nats of each continuation after its context, and whether greedy decoding would give it.

        A context that does not fit loses its beginning, as in the harness's own models.

        Raises:
            InputError: A continuation alone does not fit the context, or has no tokens.
        """
        return self._score([self._split(context, continuation) for context, continuation in requests])

    def loglikelihood_rolling(self, requests: Sequence[str]) -> list[float]:
        """Log-likelihood in nats of each text, each token predicted once, with as much before it as fits."""
        parts = [list(rolling_windows(self._encode(text), self._begin, self._longest - 1)) for text in requests]
        scored = iter(self._score([window for windows in parts for window in windows]))
        return [sum(next(scored)[0] for _ in windows) for windows in parts]

    def generate_until(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """Continue each context until one of its `until` strings, the end of text, or `max_gen_toks`."""
        groups: dict[tuple[int, float, float, int], list[int]] = {}
        for index, (_, options) in enumerate(requests):
            sampled = bool(options.get("do_sample", float(options.get("temperature") or 0) > 0))
            max_tokens = int(options.get("max_gen_toks") or DEFAULT_NEW_TOKENS)
            temperature = float(options.get("temperature") or 1.0) if sampled else 0.0
            key = (max_tokens, temperature, float(options.get("top_p") or 1.0), int(options.get("top_k") or 0))
            groups.setdefault(key, []).append(index)
        answers = [""] * len(requests)
        for (max_tokens, temperature, top_p, top_k), members in groups.items():
            sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k)
            texts = self._continue(
                [requests[index][0] for index in members], min(max_tokens, self._longest - 1), sampling
            )
            for index, text in zip(members, texts, strict=True):
                answers[index] = cut(text, requests[index][1].get("until") or ())
        return answers

    @property
    def _begin(self) -> int:
        return self._checkpoint.vocabulary.begin_of_text

    @property
    def _longest(self) -> int:
        return self._checkpoint.model.config.max_seq_len

    def _encode(self, text: str) -> list[int]:
        return self._checkpoint.text.encode(text)

    def _split(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        # Spaces belong to the word after them, and tokens of the whole text are not always those of its parts.
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        whole, before = self._encode(context + continuation), self._encode(context) if context else []
        scored = whole[len(before) :]
        if not scored or len(scored) > self._longest - 1:
            raise InputError(f"a continuation must have 1 to {self._longest - 1} tokens, got {len(scored)!r}")
        kept = whole[: len(before)][-(self._longest - 1 - len(scored)) :] if len(scored) < self._longest - 1 else []
        return [self._begin, *kept], scored

    def _score(self, parts: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        found: dict[int, tuple[float, bool]] = {}
        for index, likelihoods in scored_documents(
            self._checkpoint.model,
            [np.array([*before, *scored], np.int32) for before, scored in parts],
            TokenSets.build(self._checkpoint.vocabulary.allowed_sets),
            tokens_per_batch=self._tokens_per_batch,
            label="harness",
            given=[len(before) for before, _ in parts],
            greedy=True,
            softmax="full",
        ):
            greedy = likelihoods.greedy is not None and bool(likelihoods.greedy.all())
            found[index] = (float(likelihoods.full.astype(np.float64).sum()), greedy)
        return [found[index] for index in range(len(parts))]

    def _continue(self, contexts: Sequence[str], max_tokens: int, sampling: Sampling) -> list[str]:
        vocabulary, text = self._checkpoint.vocabulary, self._checkpoint.text
        longest = self._longest - max_tokens - 1
        prompts = [
            np.array([self._begin, *self._encode(context)[max(0, len(self._encode(context)) - longest) :]], np.int32)
            for context in contexts
        ]
        continued = continue_prompts(
            self._checkpoint.model,
            prompts,
            _keys(contexts),
            automaton=None,
            stop_id=vocabulary.end_of_text,
            sampling=sampling,
            max_new_tokens=max_tokens,
            batch_size=self._batch_size,
            label="harness",
        )
        kinds = [np.zeros(0, np.int32) if tokens is None else tokens for tokens in continued]
        written = [tokens[vocabulary.kind_of(tokens) == vocabulary.kinds.index("text")] for tokens in kinds]
        return [text.decode(tokens.tolist()) for tokens in written]


def _keys(contexts: Sequence[str]) -> list[str]:
    """Return names that belong to a context wherever it stands; a repeated one is continued anew."""
    times: collections.Counter[str] = collections.Counter()
    keys = []
    for context in contexts:
        keys.append(f"{times[context]} {context}")
        times[context] += 1
    return keys


def rolling_windows(tokens: Sequence[int], begin: int, size: int) -> Iterator[tuple[list[int], list[int]]]:
    """Split a text into windows of context and predicted tokens.

    Args:
        tokens: The text.
        begin: Id before its first token.
        size: Maximum tokens that one window predicts; given and predicted together are at most one more.
    """
    whole = [begin, *tokens]
    for start in range(0, len(tokens), size):
        stop = min(start + size, len(tokens))
        first = max(0, stop - size)
        yield whole[first : start + 1], whole[start + 1 : stop + 1]


def cut(text: str, until: str | Iterable[str]) -> str:
    """Return the text before the first of the strings that occurs in it."""
    ends = [until] if isinstance(until, str) else list(until)
    found = [match.start() for end in ends if end and (match := re.search(re.escape(end), text))]
    return text[: min(found)] if found else text


def harness_model(checkpoint: str | Path | Checkpoint, **options: Any) -> Any:
    """Make a model for lm-eval-harness: `lm_eval.simple_evaluate(model=harness_model("RUN"), tasks=[...])`.

    Args:
        checkpoint: What to evaluate.
        **options: As for `TextModel`.

    Raises:
        InputError: The harness is not installed, or the checkpoint is not one.
    """
    try:
        from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]: an extra
    except ImportError as error:
        advice = install_command("lm_eval")
        raise InputError(f"text tasks need lm-eval-harness, got no module `lm_eval`: `{advice}`") from error
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(Path(checkpoint))
    plain = TextModel(loaded, **options)

    class HarnessModel(LM):  # pyright: ignore[reportUntypedBaseClass]: an extra
        """The harness's interface, which wraps each request in an object of its own."""

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            return plain.loglikelihood([request.args for request in requests])

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            return plain.loglikelihood_rolling([request.args[0] for request in requests])

        def generate_until(self, requests: list[Any]) -> list[str]:
            return plain.generate_until([request.args for request in requests])

    return HarnessModel()
