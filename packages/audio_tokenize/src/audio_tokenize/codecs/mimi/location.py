"""Where a Mimi's files lie: a folder, a file, or a repository of the Hugging Face hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from audio_data import InputError
from audio_tokenize.codecs.mimi.weights import CONFIG_NAME, WEIGHTS_NAME
from audio_tokenize.hub_warnings import without_hub_retries

PUBLISHED = "kyutai/mimi"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SNAPSHOT = re.compile(r"models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)/snapshots/(?P<commit>[0-9a-f]+)$")


@dataclass(frozen=True)
class Location:
    """Files of a Mimi.

    Attributes:
        weights: The weights file.
        config: The `config.json` beside it; None where there is none.
        origin: What to call to find the files again: an absolute path or a hub id.
        revision: Commit, where it is known.
    """

    weights: Path
    config: Path | None
    origin: str
    revision: str | None


def locate(weights: str, revision: str | None) -> Location:
    """Find a Mimi's files, downloading them if `weights` is a hub id.

    Args:
        weights: A folder with `model.safetensors` (and `config.json`), a `.safetensors` file, or a hub id; a folder of
            the hub's cache counts as the hub id and commit that it holds.
        revision: Branch, tag or commit of a hub id.

    Raises:
        InputError: If there is no such file or repository, or the hub cannot be reached.
    """
    path = Path(weights).expanduser()
    if path.exists() or not _HUB_ID.fullmatch(weights) or weights.endswith(".safetensors"):
        if revision is not None and not _SNAPSHOT.search(path.as_posix()):
            raise InputError(f"expected `revision` for a hub id only, got {revision!r} with `{weights}`: leave it out")
        return _local(path)
    found = _local(_download(weights, revision))
    commit = _SNAPSHOT.search(found.weights.parent.as_posix())
    return Location(found.weights, found.config, weights, commit["commit"] if commit else revision)


def _local(path: Path) -> Location:
    file = path / WEIGHTS_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"expected `weights` to be a folder with {WEIGHTS_NAME}, a .safetensors file or a hub id as {PUBLISHED}, "
            f"got {str(path)!r}, where there is no {file.name}"
        )
    config = file.with_name(CONFIG_NAME)
    folder = path if path.is_dir() else path.parent
    if snapshot := _SNAPSHOT.search(folder.absolute().as_posix()):
        origin, commit = f"{snapshot['owner']}/{snapshot['name']}", snapshot["commit"]
    else:
        origin, commit = str(path.absolute()), None
    return Location(file, config if config.is_file() else None, origin, commit)


def _download(hub_id: str, revision: str | None) -> Path:
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise InputError(_by_hand(hub_id, revision, "the package huggingface-hub is not installed")) from error
    try:
        with without_hub_retries():
            return Path(hub.snapshot_download(hub_id, revision=revision, allow_patterns=[CONFIG_NAME, WEIGHTS_NAME]))
    except hub.errors.RevisionNotFoundError as error:
        raise InputError(f"expected `revision` to be a branch, tag or commit of {hub_id}, got {revision!r}") from error
    except hub.errors.RepositoryNotFoundError as error:
        raise InputError(f"expected `weights` to be a public repository of the hub, got {hub_id!r}") from error
    # What a connection lost on the way raises is of the HTTP client, which is no OSError.
    except (hub.errors.HfHubHTTPError, hub.errors.HTTPError, OSError) as error:  # pyright: ignore[reportPrivateImportUsage]
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(_by_hand(hub_id, revision, reason)) from error


def _by_hand(hub_id: str, revision: str | None, reason: str) -> str:
    at = f" at revision {revision}" if revision else ""
    return (
        f"expected to download `{hub_id}`{at} from the Hugging Face hub, got no answer ({reason}): download "
        f"{CONFIG_NAME} and {WEIGHTS_NAME} of {hub_id} where there is a connection, put both into a folder, and name "
        "it with `--weights FOLDER`"
    )
