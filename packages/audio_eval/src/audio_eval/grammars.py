"""What a model may say next: token automata for generated speech and text.

Counters are unrolled into states, so the least and greatest length are exact and every walk ends: after the last
permitted step only the end token may follow, and after that nothing, which ends a sequence.
"""

import numpy as np

from audio_data import InputError, Vocabulary
from audio_model import TokenAutomaton

FORBIDDEN = -1


def audio_automaton(
    vocabulary: Vocabulary,
    *,
    min_frames: int,
    max_frames: int,
    num_codebooks: int | None = None,
    vocab_size: int | None = None,
) -> TokenAutomaton:
    """Grammar of generated speech, entered after `audio_start`: whole frames, codebooks in order, then `audio_end`.

    State `f * num_codebooks + k` waits for codebook `k` of frame `f`; `audio_end` is allowed only where a frame would
    begin, from frame `min_frames` on, and is the only token allowed after frame `max_frames`.

    Args:
        vocabulary: Says which ids are which codebook.
        min_frames: Least number of frames, 0 or more (12.5 frames are a second).
        max_frames: Greatest number of frames, at least `min_frames` and at least 1.
        num_codebooks: Leading codebooks a frame consists of; all of the vocabulary's by default.
        vocab_size: Token ids of the model, where it has more rows than the vocabulary has ids; they are forbidden.

    Raises:
        InputError: The bounds contradict each other or the vocabulary.
    """
    books = vocabulary.num_codebooks if num_codebooks is None else num_codebooks
    if not 1 <= books <= vocabulary.num_codebooks:
        raise InputError(f"`num_codebooks` must be 1 to {vocabulary.num_codebooks}, got {books!r}")
    _check_bounds("frames", min_frames, max_frames)
    end_class, final_state = books, max_frames * books + 1
    class_of_token = np.full(vocab_size or vocabulary.size, books + 1, np.int32)
    for book in range(books):
        class_of_token[slice(*vocabulary.audio_range(book))] = book
    class_of_token[vocabulary.audio_end] = end_class
    next_state = np.full((final_state + 1, books + 2), FORBIDDEN, np.int32)
    waiting = np.arange(max_frames * books)
    next_state[waiting, waiting % books] = waiting + 1
    next_state[np.arange(min_frames, max_frames + 1) * books, end_class] = final_state
    return TokenAutomaton(class_of_token=class_of_token, next_state=next_state, initial_state=0)


def text_automaton(
    vocabulary: Vocabulary, *, max_tokens: int, min_tokens: int = 0, vocab_size: int | None = None
) -> TokenAutomaton:
    """Grammar of generated text, entered after `text_start`: text ids, then `text_end`.

    State `n` has seen `n` text tokens.

    Args:
        vocabulary: Says which ids are text; its begin and end of text are not, even where they lie in that range.
        max_tokens: Greatest number of text tokens, at least 1; `text_end` alone may follow them.
        min_tokens: Least number of text tokens, 0 to `max_tokens`.
        vocab_size: Token ids of the model, where it has more rows than the vocabulary has ids; they are forbidden.

    Raises:
        InputError: The bounds contradict each other.
    """
    _check_bounds("tokens", min_tokens, max_tokens)
    text_class, end_class, other_class = 0, 1, 2
    final_state = max_tokens + 1
    class_of_token = np.full(vocab_size or vocabulary.size, other_class, np.int32)
    class_of_token[: vocabulary.num_text] = text_class
    # A Llama-3 tokenizer counts its begin and end of text among the text ids.
    class_of_token[[vocabulary.begin_of_text, vocabulary.end_of_text]] = other_class
    class_of_token[vocabulary.text_end] = end_class
    next_state = np.full((final_state + 1, 3), FORBIDDEN, np.int32)
    next_state[np.arange(max_tokens), text_class] = np.arange(1, max_tokens + 1)
    next_state[np.arange(min_tokens, max_tokens + 1), end_class] = final_state
    return TokenAutomaton(class_of_token=class_of_token, next_state=next_state, initial_state=0)


def _check_bounds(what: str, least: int, greatest: int) -> None:
    if least < 0:
        raise InputError(f"`min_{what}` must be 0 or more, got {least!r}")
    if greatest < max(1, least):
        raise InputError(f"`max_{what}` must be at least {max(1, least)}, got {greatest!r}")
