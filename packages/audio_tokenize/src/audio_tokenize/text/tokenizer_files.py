"""Tokenizer files: where they are (on disk, in installed packages, on the hub), and their readers.

`tokenizer.json` and tiktoken's ranks are told apart by their content.
"""

import base64
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_data import HubRepository, InputError, decode_object, file_errors, from_json, install_command, is_hub_id
from audio_tokenize.text.byte_pairs import BYTE_CHARACTERS, BytePairs, NamedToken, printable_tokens

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
        f"`{install_command(name, options='--no-deps')}`, or give a tokenizer file"
    )


_RANK = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+")
_KINDS = "a byte-level BPE: a `tokenizer.json`, or tiktoken ranks such as Llama-3's `tokenizer.model`"


def read_tokens(content: bytes, where: str) -> tuple[str, ...]:
    """Tokens of a file of either kind, in the order of their ids.

    Args:
        content: The whole of the file.
        where: Its name, for messages.

    Raises:
        InputError: Neither kind, or two tokens share an id or an id has none.
    """
    if is_ranks(content):
        return _read_ranks(content, where)
    return read_tokenizer_json(content, where)[0].tokens


def is_ranks(content: bytes) -> bool:
    """Whether a file holds tiktoken ranks, by its first line."""
    return _RANK.fullmatch(content.partition(b"\n")[0].strip()) is not None


def read_tokenizer_json(content: bytes, where: str) -> tuple[BytePairs, tuple[NamedToken, ...]]:
    """Return what a `tokenizer.json` holds: its byte pairs, and the tokens that it names beside them, by rising id.

    Args:
        content: The whole of the file.
        where: Its name, for messages.

    Raises:
        InputError: No JSON, a tokenizer of another kind, or ids that collide or are left out.
    """
    try:
        value = decode_object(content)
    except InputError as error:
        raise InputError(f"`{where}` must be {_KINDS}; got neither JSON nor ranks ({error})") from error
    model = value.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise InputError(f"`{where}` must be {_KINDS}; got other JSON, without tokens at `model.vocab`")
    if model.get("type") != "BPE" or not isinstance(model.get("merges"), list):
        raise InputError(f"`{where}` must be {_KINDS}; got a model of type {model.get('type')!r}")
    with file_errors(where, "download the file again"):
        ids = model["vocab"]
        # A hundred thousand of each: only what is wrong is looked at one by one.
        if not all(type(i) is int for i in ids.values()):
            from_json(dict[str, int], ids, "model.vocab")
        if strange := set[str]().union(*ids) - BYTE_CHARACTERS:
            raise InputError(f"`model.vocab` must spell tokens in bytes, got {min(strange)!r}")
        merges = tuple(merge if isinstance(merge, str) else _joined(merge) for merge in model["merges"])
        named = [_added_token(token) for token in from_json(list[Any], value.get("added_tokens") or [], "added_tokens")]
    pairs = BytePairs(
        tokens=_in_order(ids, where),
        merges=merges,
        pattern=_pattern(value.get("pre_tokenizer"), where),
        normalizer=_normalizer(value.get("normalizer"), where),
        ignore_merges=bool(model.get("ignore_merges")),
    )
    _check_model(model, pairs.tokens, where)
    return pairs, _named(named, pairs.tokens, where)


def _joined(merge: Any) -> str:
    """Return the two sides of a merge, which newer files list."""
    if not (isinstance(merge, list) and len(merge) == 2 and all(isinstance(side, str) for side in merge)):
        raise InputError(f"`model.merges` must be pairs of tokens, got {merge!r:.80}")
    return " ".join(merge)


def _added_token(token: Any) -> NamedToken:
    match token:
        case {"id": int(i), "content": str(name), "special": bool(special)}:
            return NamedToken(i, name, special)
        case _:
            raise InputError(f"`added_tokens` must have `id`, `content` and `special` each, got {token!r:.120}")


def _read_ranks(content: bytes, where: str) -> tuple[str, ...]:
    tokens, ranks = [], []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            token, rank = line.split()
            tokens.append(base64.b64decode(token, validate=True))
            ranks.append(int(rank))
        except ValueError as error:
            raise InputError(
                f"`{where}`, line {number}: must be a token in base64 and its rank, got {line[:60]!r}: "
                "download the file again"
            ) from error
    printable = printable_tokens(tokens)
    ids = dict(zip(printable, ranks, strict=True))
    if len(ids) < len(printable):
        ((token, _),) = Counter(printable).most_common(1)
        raise InputError(f"`{where}`: the token {token!r} has two ranks: download the file again")
    return _in_order(ids, where)


def _in_order(ids: Mapping[str, int], where: str) -> tuple[str, ...]:
    tokens: list[str | None] = [None] * len(ids)
    for token, i in ids.items():
        if not 0 <= i < len(ids):
            raise InputError(f"`{where}`: the {len(ids)} tokens must have ids 0..{len(ids) - 1}, got {i!r}: {token!r}")
        if tokens[i] is not None:
            raise InputError(f"`{where}`: ids collide: {i} is both {tokens[i]!r} and {token!r}")
        tokens[i] = token
    return tuple(ids) if tuple(ids) == tuple(tokens) else tuple(token for token in tokens if token is not None)


def _check_model(model: Mapping[str, Any], tokens: Sequence[str], where: str) -> None:
    options = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    used = {name: model[name] for name in options if model.get(name)}
    if used:
        raise InputError(f"`{where}` must be {_KINDS}; got one with {used!r}")
    missing = BYTE_CHARACTERS.difference(tokens)
    if missing:
        raise InputError(
            f"`{where}` must be {_KINDS}; got one without tokens for {len(missing)} of the 256 bytes, "
            "so it cannot spell every text"
        )


def _pattern(pre_tokenizer: Any, where: str) -> str:
    """Return the regular expression, where words are cut by one and then spelled in bytes and nothing else is done."""
    match pre_tokenizer:
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            return pattern
        case _:
            raise InputError(
                f"`{where}` must be {_KINDS}, whose words are cut by one regular expression; "
                f"got `pre_tokenizer` {json.dumps(pre_tokenizer)[:200]}"
            )


def _normalizer(normalizer: Any, where: str) -> str | None:
    match normalizer:
        case None:
            return None
        case {"type": "NFC"}:
            return "NFC"
        case _:
            raise InputError(
                f"`{where}` must leave texts as they are or bring them to NFC, "
                f"got `normalizer` {json.dumps(normalizer)[:200]}, which loses more"
            )


def _named(added: Sequence[NamedToken], tokens: Sequence[str], where: str) -> tuple[NamedToken, ...]:
    named = sorted(added, key=lambda token: token.id)
    # Some files list a token of the model again among the added ones: it keeps its place.
    named = [t for t in named if not (0 <= t.id < len(tokens) and tokens[t.id] == t.name)]
    for place, token in enumerate(named, len(tokens)):
        if token.id != place:
            raise InputError(
                f"`{where}`: ids collide or are left out: expected {place} for the next of `added_tokens`, "
                f"got {token.id!r} for {token.name!r}"
            )
    names = [token.name for token in named]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InputError(f"`{where}`: ids collide: {twice!r} are named more than once in `added_tokens`")
    return tuple(named)
