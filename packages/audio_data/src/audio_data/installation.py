"""Commands that install what is missing, for messages: packages of others, by their names on the index."""

import re
from importlib.metadata import requires

_EXTRA = re.compile(r""";.*\bextra\s*==\s*['"](?P<extra>[\w.-]+)['"]""")


def install_command(*requirements: str, options: str = "") -> str:
    """Return the command that installs packages into this environment.

    Args:
        requirements: Name of each package on the index, with its versions.
        options: Options of `uv pip install`.
    """
    quoted = (name if re.fullmatch(r"[\w.-]+", name) else f"'{name}'" for name in requirements)
    return " ".join(["uv pip install", *[options] * bool(options), *quoted])


def install_extra_command(distribution: str, extra: str) -> str:
    """Return the command that installs what an extra of an installed distribution adds.

    The distributions of this project are on no index, where their names could become those of someone else's packages.
    So the command names what the extra requires, in the versions that the distribution states.

    Args:
        distribution: Name of the distribution, such as `audio-data`.
        extra: Name of its extra; it requires packages of others only.

    Raises:
        KeyError: The distribution has no such extra.
    """
    found = [(line, _EXTRA.search(line)) for line in requires(distribution) or ()]
    added = [line.partition(";")[0].strip() for line, match in found if match and match["extra"] == extra]
    if not added:
        raise KeyError(f"{distribution}[{extra}]")
    return install_command(*added)
