"""Files on the Hugging Face hub: one way to download and to upload them, one form of error.

A user who gives the id of a repository allows its download; nothing else is ever fetched. Files go to the local cache
of the hub's client, are fetched once for each commit, and are used from there where the hub cannot be reached.
"""

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from audio_data.errors import InputError
from audio_data.installation import install_extra_command

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_ADDRESS = "https://huggingface.co"


def is_hub_id(text: str) -> bool:
    """Tell whether a text has the form OWNER/NAME of a repository."""
    return _HUB_ID.fullmatch(text) is not None


@dataclass(frozen=True)
class HubRepository:
    """A repository of the hub, with the words of its error messages.

    Attributes:
        id: OWNER/NAME.
        what: What is looked for, such as "tokenizer `OWNER/NAME`"; begins every message.
        instead: What to do with DIR, a folder that the files were downloaded to by hand; ends the message of a hub
            that cannot be reached.
        revision: Branch, tag or commit; None for the default branch.
        kind: What the repository holds.
    """

    id: str
    what: str
    instead: str
    revision: str | None = None
    kind: Literal["model", "dataset"] = "model"

    def fetch_file(self, name: str) -> Path:
        """Fetch one file.

        Args:
            name: Its path in the repository.

        Returns:
            The file in the local cache.

        Raises:
            InputError: See `errors`.
        """
        with self.errors(name):
            from huggingface_hub import hf_hub_download

            return Path(hf_hub_download(self.id, name, repo_type=self.kind, revision=self.revision))

    def fetch_files(self, *globs: str) -> Path:
        """Fetch the files whose paths in the repository match one of the globs, in which `*` is also any folder.

        Returns:
            The folder in the local cache that has them under their paths; its name is the commit.

        Raises:
            InputError: See `errors`.
        """
        with self.errors(*globs):
            from huggingface_hub import snapshot_download

            found = snapshot_download(self.id, repo_type=self.kind, revision=self.revision, allow_patterns=list(globs))
            return Path(found)

    def list_files(self, folders: Sequence[str], *globs: str) -> list[tuple[str, int]]:
        """List files, without fetching them.

        Args:
            folders: Folders of the repository to look into, at any depth; "" is the root.
            globs: What a user would download by hand, for the message.

        Returns:
            Path in the repository and size in bytes of every file.

        Raises:
            InputError: See `errors`.
        """
        with self.errors(*globs):
            from huggingface_hub import HfApi
            from huggingface_hub.hf_api import RepoFile

            trees = [
                HfApi().list_repo_tree(
                    self.id, folder or None, recursive=True, revision=self.revision, repo_type=self.kind
                )
                for folder in folders
            ]
            return [(entry.path, entry.size) for tree in trees for entry in tree if isinstance(entry, RepoFile)]

    def upload_folder(self, folder: Path, message: str, *, private: bool = True) -> str:
        """Upload a folder as one commit; the repository is created if it does not exist.

        Args:
            folder: Its files replace those of the same paths; other files of the repository stay.
            message: Of the commit.
            private: Whether a repository that is created is private; one that exists keeps its visibility.

        Returns:
            Address of the commit.

        Raises:
            InputError: The client is not installed, you may not write there, or the hub cannot be reached.
        """
        by_hand = f"run `hf upload {self.id} {folder} --repo-type {self.kind}` where it can be"
        errors = _client_errors(self._client_is_missing)
        from huggingface_hub import HfApi

        try:
            with _without_retry_warnings():
                HfApi().create_repo(self.id, repo_type=self.kind, private=private, exist_ok=True)
                commit = HfApi().upload_folder(
                    repo_id=self.id, folder_path=folder, repo_type=self.kind, commit_message=message
                )
                return str(commit.commit_url)
        except errors.HFValidationError as error:
            raise InputError(
                f"{self.what}: expected a hub id OWNER/NAME, got {self.id!r} ({_reason(error)})"
            ) from error
        except errors.HfHubHTTPError as error:
            if error.response is not None and error.response.status_code in (401, 403):
                raise InputError(
                    f"{self.what}: the hub does not let you write there ({_reason(error)}); run `hf auth login` with a "
                    "token that may write to it"
                ) from error
            raise InputError(f"{self.what}: the hub refused the upload ({_reason(error)}); {by_hand}") from error
        except (errors.HTTPError, OSError) as error:  # pyright: ignore[reportPrivateImportUsage]
            raise InputError(f"{self.what}: the hub cannot be reached ({_reason(error)}); {by_hand}") from error

    @contextmanager
    def errors(self, *files: str) -> Generator[None, None, None]:
        """Turn what the hub's client raises inside into an `InputError` with the cause and the remedy.

        Args:
            files: Names or globs of the files that are wanted, for the message.

        Raises:
            InputError: The client is not installed, there is no such repository, revision or file, the repository is
                gated, or the hub cannot be reached; the last says which command to run where it can be.
        """
        by_hand = f"run `{download_command(self.id, *files, revision=self.revision, kind=self.kind)}`"
        by_hand = f"{by_hand} where the hub can be reached, copy DIR here, and {self.instead}"
        errors = _client_errors(f"{self._client_is_missing}; or {by_hand}")
        try:
            with _without_retry_warnings():
                yield
        except errors.GatedRepoError as error:
            problem = f"the repository is gated: accept its terms on {self._address}, then `hf auth login`"
            raise InputError(f"{self.what}: {problem}") from error
        except errors.RevisionNotFoundError as error:
            problem = f"expected revision {self.revision!r} in {self.id}, got no such branch, tag or commit"
            raise InputError(f"{self.what}: {problem}; give another") from error
        except errors.RepositoryNotFoundError as error:
            problem = f"expected the {self.kind} {self.id} on the hub, got none that you may read"
            raise InputError(f"{self.what}: {problem}; correct the id, or `hf auth login`") from error
        except errors.HFValidationError as error:
            problem = f"expected a hub id OWNER/NAME, got {self.id!r}"
            raise InputError(f"{self.what}: {problem} ({_reason(error)})") from error
        except errors.RemoteEntryNotFoundError as error:
            problem = f"expected {' '.join(files)} in {self.id}, got nothing of that name"
            raise InputError(
                f"{self.what}: {problem}; compare with {self._address}/tree/{self.revision or 'main'}"
            ) from error
        # What a connection lost on the way raises is of the HTTP client, which is no OSError.
        except (errors.HTTPError, OSError) as error:  # pyright: ignore[reportPrivateImportUsage]
            raise InputError(f"{self.what}: the hub cannot be reached ({_reason(error)}); {by_hand}") from error

    @property
    def _client_is_missing(self) -> str:
        return f"{self.what}: the hub needs huggingface-hub: `{install_extra_command('audio-data', 'hub')}`"

    @property
    def _address(self) -> str:
        return f"{_ADDRESS}/{'datasets/' if self.kind == 'dataset' else ''}{self.id}"


def _client_errors(without_it: str) -> ModuleType:
    """Import the errors of the hub's client, or say in an `InputError` that it is not installed."""
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise InputError(without_it) from error
    return errors


def download_command(
    repository: str, *files: str, revision: str | None = None, kind: Literal["model", "dataset"] = "model"
) -> str:
    """Return the shell command that downloads files into the folder DIR, under their paths in the repository.

    Args:
        repository: Its id.
        files: Names or globs.
        revision: Branch, tag or commit; None for the default branch.
        kind: What the repository holds.
    """
    is_glob = any(set("*?[") & set(name) for name in files)
    names = [] if is_glob else files
    globs = ["--include", *(f"'{name}'" for name in files)] if is_glob else []
    kinds = ["--repo-type", kind] if kind != "model" else []
    at = ["--revision", revision] if revision else []
    return " ".join(["hf download", repository, *names, *kinds, *at, *globs, "--local-dir DIR"])


@contextmanager
def _without_retry_warnings() -> Generator[None, None, None]:
    """Keep the hub's client from warning of every request that it tries again; the last refusal is reported."""
    from huggingface_hub import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
