"""What the tests of all packages share: how programs are compiled."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

_CACHE, _QUICKLY = "JAX_COMPILATION_CACHE_DIR", "JAX_DISABLE_MOST_OPTIMIZATIONS"


def pytest_configure(config: pytest.Config) -> None:
    """Compile quickly, and each program once: workers, the processes that tests start and later runs share a folder.

    Compiling takes most of the time of many tests. `JAX_COMPILATION_CACHE_DIR` names another folder than pytest's own.
    """
    cache = getattr(config, "cache", None)
    if _CACHE not in os.environ and cache is not None:
        os.environ[_CACHE] = str(cache.mkdir("compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault(_QUICKLY, "1")
    for name, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(name) is signal.SIG_IGN:  # a shell ignores them in the background; processes inherit that
            signal.signal(name, usual)


@pytest.fixture(scope="module", autouse=True)
def compilation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compile as users do in modules marked `optimized`."""
    if request.node.get_closest_marker("optimized") is None:
        yield
        return
    jax = sys.modules.get("jax")  # modules that only start processes need not import it
    before = None if jax is None else jax.config.values[_QUICKLY.lower()]
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv(_QUICKLY, raising=False)
        if jax is not None:
            jax.config.update(_QUICKLY.lower(), False)
        yield
    if jax is not None:
        jax.config.update(_QUICKLY.lower(), before)
