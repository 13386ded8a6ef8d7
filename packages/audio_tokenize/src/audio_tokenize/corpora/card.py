"""The card of a corpus: the facts that are known before any of it is downloaded."""

import re
from dataclasses import dataclass
from typing import Literal

from audio_data import download_command
from audio_tokenize.corpora.corpus import UNDETERMINED_LANGUAGE

NOT_PINNED = "not pinned; the newest is read"
_SPLIT = re.compile(r"(?:^|[/._-])(train|validated|dev|validation|test)(?=[/._-])")
_SPLITS = {"validated": "train", "validation": "dev"}
# A glob's fixed beginning ends before the first folder that holds one of these.
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class CorpusCard:
    """A published corpus as data.

    Attributes:
        name: What `open_corpus` and `encode` call it.
        kind: `speech` is audio with transcripts, `text` plain documents, `documents` token strings as published.
        description: One line.
        repository: A dataset of the Hugging Face hub, or where else it is published, as a URL.
        files: Globs of its files below the repository's root, with `/`; `**` is any number of folders.
        reader: Name of the layout: of `corpora.readers` for speech; `jsonl`, `documents` (parquet with id and text) or
            `instructions` (parquet with instruction and response) for the others.
        licence: Terms as the publisher states them.
        languages: BCP 47 codes.
        source: Where the facts come from: a paper, a dataset card, a program.
        needs: What it takes to get the files.
        revision: Of the repository; `main` where none is pinned.
        revision_note: Who pins it, or that nobody does.
        hours: Of audio in all languages, where known.
        language_hours: Of audio in one language alone, where known, as (language, hours).
        num_tokens: In the vocabulary of SODA, both orders together, where known.
        num_bytes: Of the files, where known.
        transcripts: Name of the transcript rule that its published token corpora were made with.
        language_pattern: Finds the language in a file's name, as group 1; none where all files have one language.
        id_field: Of `text` and `documents`: the column of ids.
        text_field: Of `text` and `documents`: the column of texts.
        notes: What else one should know.
    """

    name: str
    kind: Literal["speech", "text", "documents"]
    description: str
    repository: str
    files: tuple[str, ...]
    reader: str
    licence: str
    languages: tuple[str, ...]
    source: str
    needs: str
    revision: str = "main"
    revision_note: str = NOT_PINNED
    hours: int | None = None
    language_hours: tuple[tuple[str, int], ...] = ()
    num_tokens: int | None = None
    num_bytes: int | None = None
    transcripts: str = "verbatim"
    language_pattern: str | None = None
    id_field: str = "id"
    text_field: str = "text"
    notes: str = ""

    @property
    def on_hub(self) -> bool:
        """Whether `repository` is a dataset of the Hugging Face hub."""
        return "://" not in self.repository

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the repository that hold its files at any depth, as far as their names are fixed."""
        fixed = (_WILD.split(glob, maxsplit=1)[0] for glob in self.files)
        folders = {start.rpartition("/")[0] for start in fixed}
        return tuple(sorted(f for f in folders if not any(f.startswith(f"{other}/") for other in folders - {f})))

    @property
    def download(self) -> str:
        """How to get all its files, as a command where there is one."""
        if not self.on_hub:
            return f"get {', '.join(self.files)} from {self.repository}"
        return download_command(self.repository, *self.files, revision=self.revision, kind="dataset")

    def hours_of(self, language: str | None) -> int | None:
        """Hours of audio in one language, or in all of them for None; None where they are not known."""
        if language is None or self.languages == (language,):
            return self.hours
        return dict(self.language_hours).get(language)

    def language_of(self, file_name: str) -> str:
        """Language of a file of the corpus by its name, `und` where nothing says it."""
        if self.language_pattern is None:
            return self.languages[0] if len(self.languages) == 1 else UNDETERMINED_LANGUAGE
        match = re.search(self.language_pattern, file_name)
        return match[1].lower() if match else UNDETERMINED_LANGUAGE

    def split_of(self, file_name: str) -> str | None:
        """Split of a file where its name says it: `train`, `dev` or `test`.

        Common Voice's `validated`, which `commonvoice17-mm-pretrain` was made of, counts as `train`.
        """
        match = _SPLIT.search(file_name)
        return _SPLITS.get(match[1], match[1]) if match else None
