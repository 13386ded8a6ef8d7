"""A list of records that are left out, with a budget: off unless asked for, the same in every run, and counted.

Two things use it. A build leaves out documents that cannot be used, and lists them in the dataset's
`quarantine.jsonl`. `verify` lists documents that can no longer be read in `damaged.json`; a dataset that is opened
with a budget then gives rows of padding where they lie, so that all other rows stay what and where they were, on any
number of hosts.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import TypeAlias

from audio_data.errors import InputError
from audio_data.json_files import file_errors, from_json, read_json, write_sealed_json
from audio_data.storage import StoragePath, remove_file, write_bytes

QUARANTINE_NAME = "quarantine.jsonl"
DAMAGED_NAME = "damaged.json"
_NUM_SHOWN = 3
_REMEDY = "run `audio-data verify --max-quarantined` again"

Budget: TypeAlias = int | float


def parse_budget(text: str) -> Budget:
    """Read a budget as it is written on a command line: `12` of them, or `0.5%` of all.

    Args:
        text: The number, or the percentage.

    Raises:
        InputError: It is neither.
    """
    try:
        return check_budget(float(text.removesuffix("%")) / 100 if text.endswith("%") else int(text))
    except ValueError as error:
        raise InputError(f"budget: expected a number such as 12, or a share such as 0.5%, got {text!r}") from error


def check_budget(budget: Budget) -> Budget:
    """Return a budget that is one.

    Args:
        budget: An integer is a number of documents or utterances, a float a share of all, 0.0 .. 1.0.

    Raises:
        InputError: It is negative, or a share above 1.
    """
    if budget < 0 or (isinstance(budget, float) and not budget <= 1):
        raise InputError(f"budget: expected a number from 0, or a share 0.0..1.0, got {budget!r}")
    return budget


class Quarantine:
    """Documents that are left out, each with its reason, as long as a budget allows.

    Args:
        budget: An integer is a number of documents, a float a share of all, 0.0 .. 1.0. None allows none at all.
    """

    def __init__(self, budget: Budget | None):
        self._budget = None if budget is None else check_budget(budget)
        self.reasons: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.reasons)

    def add(self, name: str, reason: str) -> None:
        """Leaves out one document.

        Args:
            name: What it is called, or where it is.
            reason: What is wrong with it, as an `InputError` says it.

        Raises:
            InputError: The quarantine is off (the error is the reason), or its number is used up.
        """
        if self._budget is None:
            raise InputError(reason)
        self.reasons[name] = reason
        if isinstance(self._budget, int):
            self.check(len(self.reasons))

    def check(self, num_documents: int) -> None:
        """Compare what was left out with the budget.

        Args:
            num_documents: How many documents there are in all.

        Raises:
            InputError: More was left out than the budget allows; the message names the first.
        """
        budget = self._budget or 0
        allowed = budget if isinstance(budget, int) else math.floor(budget * num_documents)
        if len(self.reasons) > allowed:
            first = "; ".join(list(self.reasons.values())[:_NUM_SHOWN])
            raise InputError(
                f"quarantine: expected at most {allowed} unusable documents, got {len(self.reasons)!r}, first {first}; "
                f"repair them, or allow more"
            )

    def write(self, folder: StoragePath) -> str:
        """Write the list as `quarantine.jsonl`, or remove an old one if nothing was left out.

        Args:
            folder: The dataset.

        Returns:
            The checksum of the file, 64 hexadecimal digits; "" where there is none.
        """
        file = folder / QUARANTINE_NAME
        lines = [
            json.dumps({"document": name, "reason": why}, ensure_ascii=False) for name, why in self.reasons.items()
        ]
        if not lines:
            remove_file(file)
            return ""
        # A name of a file need not be UTF-8.
        content = ("\n".join(lines) + "\n").encode(errors="replace")
        write_bytes(file, content)
        return hashlib.sha256(content).hexdigest()


@dataclasses.dataclass(frozen=True)
class Damaged:
    """The documents of one dataset that cannot be read.

    Attributes:
        fingerprint: Which dataset: `Manifest.fingerprint`.
        documents: What is wrong with each, by its number in the dataset.
    """

    fingerprint: str
    documents: Mapping[int, str]

    def write(self, folder: StoragePath) -> None:
        """Write the list as `damaged.json`.

        Args:
            folder: The dataset.
        """
        documents = {str(index): reason for index, reason in self.documents.items()}
        write_sealed_json(folder / DAMAGED_NAME, {"fingerprint": self.fingerprint, "documents": documents})

    @classmethod
    def read(cls, folder: StoragePath, fingerprint: str, budget: Budget, num_documents: int) -> "Damaged":
        """Read the list of a dataset; an absent one is empty.

        Args:
            folder: The dataset.
            fingerprint: Its fingerprint.
            budget: Most documents that may be damaged, as a number or as a share of all.
            num_documents: How many it holds.

        Raises:
            InputError: The list is of another dataset or broken, or longer than the budget allows.
        """
        file = folder / DAMAGED_NAME
        if not file.exists():
            return cls(fingerprint, {})
        value = read_json(file, remedy=_REMEDY)
        with file_errors(file, _REMEDY):
            reasons = from_json(dict[str, str], value.get("documents"), "documents")
            wrong = [n for n in reasons if not n.isdecimal() or not n.isascii() or int(n) >= num_documents]
            if wrong:
                raise InputError(f"`documents`: expected numbers below {num_documents}, got {wrong[0]!r:.40}")
            stated = from_json(str, value.get("fingerprint"), "fingerprint")
        found = cls(stated, {int(number): why for number, why in reasons.items()})
        if found.fingerprint != fingerprint:
            raise InputError(
                f"list `{file}`: expected fingerprint {fingerprint!r}, got {found.fingerprint!r}; "
                f"the dataset was rebuilt since, so run `audio-data verify` again"
            )
        quarantine = Quarantine(budget)
        quarantine.reasons = {str(index): why for index, why in found.documents.items()}
        quarantine.check(num_documents)
        return found
