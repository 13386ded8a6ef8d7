"""Token automata of generated speech and text."""

from audio_data import InputError, Vocabulary
from audio_model import TokenAutomaton


def audio_automaton(
    vocabulary: Vocabulary,
    *,
    min_frames: int,
    max_frames: int,
    num_codebooks: int | None = None,
    vocab_size: int | None = None,
) -> TokenAutomaton:
    """Make the grammar of speech after `audio_start`: whole frames, codebooks in order, then `audio_end`.

    Args:
        vocabulary: Vocabulary with the id range of each codebook.
        min_frames: Minimum number of frames, 0 or more (12.5 frames are a second).
        max_frames: Maximum number of frames, at least `min_frames` and at least 1.
        num_codebooks: Number of leading codebooks in a frame; all of the vocabulary's by default.
        vocab_size: Number of token ids of the model, where it has more than the vocabulary; the others are forbidden.

    Raises:
        InputError: The bounds contradict each other or the vocabulary.
    """
    books = vocabulary.num_codebooks if num_codebooks is None else num_codebooks
    if not 1 <= books <= vocabulary.num_codebooks:
        raise InputError(f"`num_codebooks` must be 1 to {vocabulary.num_codebooks}, got {books!r}")
    _check_bounds("frames", min_frames, max_frames)
    slots = [[vocabulary.audio_range(book)] for book in range(books)]
    size = vocab_size or vocabulary.size
    return TokenAutomaton.cycles(size, slots, vocabulary.audio_end, minimum=min_frames, maximum=max_frames)


def text_automaton(
    vocabulary: Vocabulary, *, max_tokens: int, min_tokens: int = 0, vocab_size: int | None = None
) -> TokenAutomaton:
    """Make the grammar of text after `text_start`: text ids, then `text_end`.

    Args:
        vocabulary: Vocabulary with the text ids; its begin and end of text are none, even inside their range.
        max_tokens: Maximum number of text tokens, at least 1.
        min_tokens: Minimum number of text tokens, 0 to `max_tokens`.
        vocab_size: Number of token ids of the model, where it has more than the vocabulary; the others are forbidden.

    Raises:
        InputError: The bounds contradict each other.
    """
    _check_bounds("tokens", min_tokens, max_tokens)
    # A Llama-3 tokenizer counts its begin and end of text among the text ids.
    specials = (vocabulary.begin_of_text, vocabulary.end_of_text, vocabulary.text_end)
    inside = sorted(one for one in specials if one < vocabulary.num_text)
    ranges = zip([0, *(one + 1 for one in inside)], [*inside, vocabulary.num_text], strict=True)
    slot = [(start, stop) for start, stop in ranges if start < stop]
    size = vocab_size or vocabulary.size
    return TokenAutomaton.cycles(size, [slot], vocabulary.text_end, minimum=min_tokens, maximum=max_tokens)


def _check_bounds(what: str, minimum: int, maximum: int) -> None:
    if minimum < 0:
        raise InputError(f"`min_{what}` must be 0 or more, got {minimum!r}")
    if maximum < max(1, minimum):
        raise InputError(f"`max_{what}` must be at least {max(1, minimum)}, got {maximum!r}")
