"""Files of a corpus on the Hugging Face hub: listed, and fetched one shard at a time; every refusal says what to do."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from audio_data import InputError
from audio_tokenize.corpora.card import CorpusCard
from audio_tokenize.corpora.readers.base import PublishedFile
from audio_tokenize.hub_warnings import without_hub_retries

_SCHEME = "hf://datasets/"
_LOCATION = re.compile(rf"{_SCHEME}(?P<repository>[^@]+)@(?P<revision>[^/]+)/(?P<name>.+)")


def is_hub_location(location: str) -> bool:
    """Whether a location is one of `hub_files`."""
    return location.startswith(_SCHEME)


def _pattern(glob: str) -> str:
    """A regular expression of a path glob: `*` stays within a folder, `**/` is any number of folders."""
    parts = re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", glob)
    meanings = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(meanings.get(part, part if part.startswith("[") else re.escape(part)) for part in parts)


def matches(name: str, globs: Sequence[str]) -> bool:
    """Whether a file's name fits one of the globs, as `Path.glob` would have it."""
    return any(re.fullmatch(_pattern(glob), name) for glob in globs)


@contextmanager
def _explained(card: CorpusCard, what: str, download: str) -> Iterator[None]:
    """Turns what the hub refuses into a message that says what to download and where to put it."""
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise InputError(
            f"{what}: reading from the hub needs huggingface-hub: `pip install 'audio-tokenize[hub]'`; or get the "
            f"files elsewhere and give their folder ({download})"
        ) from error
    try:
        with without_hub_retries():
            yield
    except errors.GatedRepoError as error:
        raise InputError(
            f"{what}: the repository is gated: accept its terms on https://huggingface.co/datasets/{card.repository}, "
            "then `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{what}: expected revision {card.revision!r} in {card.repository}, got no such revision; give another"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{what}: expected the dataset {card.repository} on the hub, got none that you may read; `hf auth login`?"
        ) from error
    except errors.EntryNotFoundError as error:
        raise InputError(
            f"{what}: expected it in {card.repository} at revision {card.revision!r}, got nothing of that name: "
            f"compare with https://huggingface.co/datasets/{card.repository}/tree/{card.revision}"
        ) from error
    # What a lost connection raises is of the HTTP client, which has changed between versions of the hub's package.
    except (errors.HfHubHTTPError, errors.HTTPError, OSError) as error:  # pyright: ignore[reportPrivateImportUsage]
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{what}: the hub cannot be reached ({reason}); on a machine that can, run `{download}`, bring DIR "
            f"here and give it: `--corpus {card.name} DIR`"
        ) from error


def hub_files(card: CorpusCard) -> list[PublishedFile]:
    """Lists the files of a corpus on the hub, with their sizes; downloads nothing.

    Raises:
        InputError: If the hub cannot be reached, refuses, or has no such revision.
    """
    what = f"corpus `{card.name}`"
    found = []
    with _explained(card, what, card.download):
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        for folder in card.folders:
            tree = HfApi().list_repo_tree(
                card.repository, folder or None, recursive=True, revision=card.revision, repo_type="dataset"
            )
            found += [
                PublishedFile(entry.path, f"{_SCHEME}{card.repository}@{card.revision}/{entry.path}", entry.size)
                for entry in tree
                if isinstance(entry, RepoFile) and matches(entry.path, card.files)
            ]
    return found


def fetch_from_hub(card: CorpusCard, location: str) -> Path:
    """A local file with the content of a file on the hub; it is downloaded once into the hub's own cache.

    Args:
        card: The corpus.
        location: As `hub_files` gives it.

    Raises:
        InputError: If the hub cannot be reached, refuses, or has no such file.
    """
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise InputError(f"`{location}`: expected {_SCHEME}OWNER/NAME@REVISION/FILE; list the shards again")
    repository, revision, name = match.groups()
    with _explained(card, f"file `{name}` of corpus `{card.name}`", card.download_command(name)):
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repository, name, repo_type="dataset", revision=revision))
