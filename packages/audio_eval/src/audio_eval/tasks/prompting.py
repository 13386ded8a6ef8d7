"""How documents and prompts of published test sets begin."""

import dataclasses

import numpy as np
from jaxtyping import Int32

from audio_data import InputError
from audio_eval.tasks.base import Context, Task

BEGINNINGS = ("single", "double")


@dataclasses.dataclass(frozen=True)
class PromptedTask(Task):
    """A task whose prompts can begin as the documents of training did.

    The study's scripts let the tokenizer put one `begin_of_text` before a prompt. Its training documents of speech
    began with two: they were written with one, and the Marin tokenizer put another before it.

    Attributes:
        begin_of_text: "single" for one, as the scripts do and as data sets are built by default; "double" for two, as
            the released models were trained on.
    """

    begin_of_text: str = "single"

    def check_beginning(self) -> None:
        """Refuses settings that mean nothing.

        Raises:
            InputError: An unknown beginning, or one that the study's scripts do not have together with `compat`.
        """
        if self.begin_of_text not in BEGINNINGS:
            raise InputError(
                f"`{self.name}.begin_of_text` must be one of {', '.join(BEGINNINGS)}, got {self.begin_of_text!r}"
            )
        if self.begin_of_text == "double" and getattr(self, "compat", "none") == "study":
            raise InputError(
                f"`{self.name}.begin_of_text` must be 'single' under `compat` 'study', whose scripts put one before a "
                f"prompt, got {self.begin_of_text!r}: leave one of the two out"
            )

    def begun(self, context: Context, ids: Int32[np.ndarray, " _"]) -> Int32[np.ndarray, " _"]:
        """A document or prompt that holds one `begin_of_text`, with as many as there are to be."""
        if self.begin_of_text == "single":
            return ids
        return np.concatenate([np.array([context.checkpoint.vocabulary.begin_of_text], np.int32), ids])
