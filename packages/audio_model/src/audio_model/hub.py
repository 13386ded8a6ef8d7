"""The folder of a model: local, in the cache of the hub, or downloaded."""

import dataclasses
import importlib.util
import os
import re
from pathlib import Path

from audio_model.errors import InputError
from audio_model.tensor_files import INDEX, PICKLED_SUFFIXES, WEIGHTS, pickled_refusal

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_FILES = (
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    INDEX,
    "tokenizer*",
    "merges.txt",
    "vocab.json",
)
_MORE_FILES = ("special_tokens_map.json", "added_tokens.json", "chat_template.jinja")


@dataclasses.dataclass(frozen=True)
class FoundModel:
    """A model's folder and where it is from.

    Attributes:
        folder: The folder, on this machine.
        revision: Commit on the hub; None for a folder that was here.
    """

    folder: Path
    revision: str | None = None


def find_model(source: str | os.PathLike[str], *, revision: str | None = None, download: bool = False) -> FoundModel:
    """Find a model's folder.

    Args:
        source: A folder, or the id of a model on the Hugging Face hub, such as "Qwen/Qwen3-0.6B-Base".
        revision: Branch, tag or commit of the hub id; None takes the main branch.
        download: Whether to fetch what the local cache of the hub lacks. Nothing is fetched unasked.

    Returns:
        The folder; of a hub id, that in the hub's local cache.

    Raises:
        InputError: If there is no such folder or model; if it is on the hub only and `download` is False,
            or the hub cannot be reached: the message then says what to fetch and where to put it.
    """
    path = Path(source)
    if path.is_dir():
        if revision is not None:
            raise InputError(
                f"`revision` belongs to a hub id, got {revision!r} for the folder `{source}`: leave it out"
            )
        return FoundModel(path)
    if path.is_file() and path.suffix in PICKLED_SUFFIXES:
        raise pickled_refusal([path.name], path.parent)
    if path.is_file():
        raise InputError(f"`{source}` must be the folder of a model, got a file: give the folder it lies in")
    if not _HUB_ID.fullmatch(str(source)):
        raise InputError(f"`{source}` must be a folder or a hub id OWNER/NAME; there is no such folder")
    return _on_hub(str(source), revision, download)


def _on_hub(repository: str, revision: str | None, download: bool) -> FoundModel:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise InputError(
            f"no folder `{repository}` here, and the hub needs huggingface-hub: `uv pip install huggingface-hub`; "
            f"or {_by_hand(repository, revision)}"
        )
    cached = _snapshot(repository, revision, local_files_only=True)
    if isinstance(cached, FoundModel) and _is_whole(cached.folder):
        return cached
    if not download:
        raise InputError(
            f"no folder `{repository}` here, and its weights are not in the local cache of the hub: ask for them with "
            f"--download (`download=True`), or {_by_hand(repository, revision)}"
        )
    fetched = _snapshot(repository, revision, local_files_only=False)
    if isinstance(fetched, FoundModel):
        return fetched
    raise InputError(f"`{repository}` could not be had from the hub ({fetched}): {_by_hand(repository, revision)}")


def _snapshot(repository: str, revision: str | None, *, local_files_only: bool) -> FoundModel | str:
    """Return the folder of a snapshot, or in one line why there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(_FILES + _MORE_FILES),
            local_files_only=local_files_only,
        )
    # A refusal of the hub and a network that fails are `OSError`s, but for those of an id that no repository can have.
    except (OSError, HFValidationError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return " ".join(lines[:2]) or type(error).__name__
    return FoundModel(Path(folder), Path(folder).name)


def _is_whole(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in (WEIGHTS, INDEX))


def _by_hand(repository: str, revision: str | None) -> str:
    at = f" --revision {revision}" if revision else ""
    return (
        f"run `hf download {repository}{at} --include '*.json' '*.safetensors' --local-dir FOLDER` where the hub can "
        "be reached and you have access, copy FOLDER here, and give it as the source"
    )
