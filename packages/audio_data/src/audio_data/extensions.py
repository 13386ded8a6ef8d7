"""Objects that users add: from a file, from a module, or by an entry point of an installed package.

`FILE.py:NAME` and `MODULE:NAME` name one object. `FILE.py` alone names the only one of its kind in the file. Recipes,
evaluation tasks and codecs are all added in these ways.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar, cast

from audio_data.errors import InputError
from audio_data.storage import read_bytes
from audio_data.suggestions import nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Extension(Generic[T]):
    """An object from outside, and where it is from.

    Attributes:
        value: The object.
        origin: The target that names it, or the value of its entry point.
        file: The source file of the module that holds it; None for a module without one.
    """

    value: T
    origin: str
    file: Path | None


def names_object(target: str) -> bool:
    """Tell whether a target has the form `FILE.py`, `FILE.py:NAME` or `MODULE:NAME`."""
    return ":" in target or target.endswith(".py")


def load_object(target: str, kind: type[T], *, what: str, remedy: str, example: str = "") -> Extension[T]:
    """Load the object that a target names.

    A subclass of the kind counts as its instance where it needs no arguments.

    Args:
        target: `FILE.py`, `FILE.py:NAME` or `MODULE:NAME`.
        kind: Class that the object must be an instance of.
        what: Noun of such an object for messages, such as "recipe".
        remedy: What to do about a target that does not exist, for messages.
        example: Where to see a correct file, for messages; `remedy` where it is empty.

    Raises:
        InputError: The file or module does not exist, the file is not Python, or it has no such object of the kind.
            An error that the file itself raises is raised as it is.
    """
    path, name = (target, "") if target.endswith(".py") else target.rpartition(":")[::2]
    module = _load_file(Path(path), what, remedy) if path.endswith(".py") else _load_module(path, remedy)
    file = Path(module.__file__) if module.__file__ else None
    if name and (named := _as_object(getattr(module, name, None), kind)) is not None:
        return Extension(named, target, file)
    found = {key: value for key, value in vars(module).items() if isinstance(value, kind)}
    own = {key: value for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    found = found or {key: made for key, value in own.items() if (made := _as_object(value, kind)) is not None}
    if not found:
        full_name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
        raise InputError(f"`{path}` must define an object of `{full_name}`, got none; {example or remedy}")
    if not name and len(found) == 1:
        return Extension(next(iter(found.values())), target, file)
    problem = f"has no {kind.__name__} `{name}`; {nearest(name, found)}" if name else "defines several."
    raise InputError(f"`{path}` {problem} Name one as {path}:NAME, NAME being one of {', '.join(sorted(found))}.")


def registered_objects(group: str, kind: type[T]) -> tuple[Extension[T], ...]:
    """Load what installed packages register: each entry point is an object of the kind, or an iterable of them.

    Args:
        group: Group of the entry points, `PACKAGE.NAME`; those that lie in `PACKAGE` itself come first.
        kind: Class that the objects must be instances of.

    Raises:
        InputError: An entry point cannot be loaded or holds something else, or `PACKAGE` has none.
    """
    package = group.partition(".")[0]
    points = sorted(entry_points(group=group), key=lambda point: (not _is_of(package, point), point.name))
    if not points or not _is_of(package, points[0]):
        raise InputError(f"`{package}` must register its own {group}, got none: install it again (`uv sync`)")
    return tuple(found for point in points for found in _load_entry_point(point, group, kind))


def _is_of(package: str, point: EntryPoint) -> bool:
    return point.module.partition(".")[0] == package


def _load_entry_point(point: EntryPoint, group: str, kind: type[T]) -> Iterable[Extension[T]]:
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"entry point `{point.name}` of {group} ({point.value}) cannot be loaded: {error}; reinstall or uninstall "
            "the package that declares it"
        ) from error
    file = getattr(sys.modules[point.module], "__file__", None)
    for item in cast(Iterable[object], loaded) if isinstance(loaded, Iterable) else (loaded,):
        if (value := _as_object(item, kind)) is None:
            full_name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
            raise InputError(
                f"entry point `{point.name}` of {group} must be an iterable of `{full_name}`, got "
                f"{type(item).__name__}; correct {point.value}"
            )
        yield Extension(value, point.value, Path(file) if file else None)


def _as_object(value: object, kind: type[T]) -> T | None:
    """Return the value, or the instance of a class that needs no arguments; None for anything else."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, type) or not issubclass(value, kind) or value is kind or inspect.isabstract(value):
        return None
    needed = [one for one in inspect.signature(value).parameters.values() if one.default is one.empty]
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return value() if all(one.kind in optional for one in needed) else None


def _load_file(path: Path, what: str, remedy: str) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{what} file `{path}` does not exist; {remedy}")
    try:
        code = compile(read_bytes(path), path, "exec")
    except SyntaxError as error:
        raise InputError(f"{what} file `{path}` line {error.lineno}: {error.msg}; correct it") from error
    except ValueError as error:  # null bytes, before Python 3.12
        raise InputError(f"{what} file `{path}` must be Python, got {error}; correct it") from error
    # Under a name of its own, so that `json.py` does not take the place of the module `json`.
    name = f"{path.stem}_{sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)  # as `python FILE` does, so that a file can import its neighbours
    sys.modules[name] = module  # where `dataclass` looks up annotations
    try:
        exec(code, vars(module))  # the user named this file for it to be run
    finally:
        sys.path.remove(folder)
    return module


def _load_module(name: str, remedy: str) -> ModuleType:
    try:
        if all(part.isidentifier() for part in name.split(".")):
            return importlib.import_module(name)
        problem = "it is no module's name"
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module was found and imports something else that is missing
        problem = str(error)
    raise InputError(f"module `{name}` cannot be imported: {problem}; install it, or {remedy}")
