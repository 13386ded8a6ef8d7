"""Bytes that a compiled step moves between devices, counted in its module, and the number that it must move."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from audio_model import Qwen3xConfig

OPERATIONS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

_OPERATION = re.compile(rf"= (.*?) ({'|'.join(OPERATIONS)})(?:-start)?\(")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LOOP = re.compile(r" while\(.*body=%?([\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_CALLED = re.compile(r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_ARRAY = re.compile(r"(pred|[a-z]+\d+\w*)\[([\d,]*)\]")
_LISTED_GROUP = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_COUNTED_GROUPS = re.compile(r"replica_groups=\[(\d+),(\d+)\]")


@dataclass
class _Computation:
    """A computation of a module: what it moves itself, and the computations it runs, with how often."""

    moved: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    runs: list[tuple[str, int]] = field(default_factory=list)


def moved_bytes(module: str) -> dict[str, float]:
    """Bytes that each device receives in one run of a compiled module, by operation.

    Loops count as often as they run. In a group of g devices, of n bytes gathered or reduced each device receives
    n (g - 1) / g, and twice that where all devices keep the whole reduction.

    Args:
        module: What `jax.stages.Compiled.as_text` gives, with synchronous operations or their `-start`.

    Returns:
        Bytes by operation; those that do not occur are left out.
    """
    computations, entry = _parse(module)

    def total(name: str) -> dict[str, float]:
        moved = defaultdict(float, computations[name].moved)
        for called, times in computations[name].runs:
            for operation, count in total(called).items() if called in computations else ():
                moved[operation] += times * count
        return moved

    return {operation: count for operation, count in total(entry).items() if count}


def fsdp_bytes(config: Qwen3xConfig, itemsize: int, num_devices: int) -> float:
    """Bytes that each device has to receive where weights are cut over all devices: ZeRO-3's volume.

    Matrices of blocks are gathered twice (forward and backward), embedding and head once, and every gradient is reduced
    once to the device that holds the weight. Norms, which are whole everywhere, do not count.

    Args:
        config: The model.
        itemsize: Bytes of a number while it travels.
        num_devices: How many share the weights.

    Source: Rajbhandari et al., ZeRO (arXiv 1910.02054), section 7: three times the parameters where all are gathered
    twice.
    """
    norms = 2 * config.embed + 2 * config.head_dim
    blocks = config.layers * (config.layer_parameters - norms)
    rest = 2 * config.embedding_parameters  # a tied matrix is fetched for either of its uses
    return itemsize * (3 * blocks + 2 * rest) * (num_devices - 1) / num_devices


def _parse(module: str) -> tuple[Mapping[str, _Computation], str]:
    computations: dict[str, _Computation] = {}
    entry, current = "", _Computation()
    for line in module.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head[2], _Computation())
            entry = head[2] if head[1] else entry
        elif found := _OPERATION.search(line):
            current.moved[found[2]] += _received(line, found[1], found[2])
        elif loop := _LOOP.search(line):
            trips = _TRIPS.search(line)
            current.runs.append((loop[1], int(trips[1]) if trips else 1))
        elif " call(" in line or " conditional(" in line or "async-start(" in line:
            current.runs.extend((name, 1) for name in _CALLED.findall(line))
    return computations, entry


def _received(line: str, result: str, operation: str) -> float:
    group = _group_size(line)
    sizes = [_array_bytes(kind, shape) for kind, shape in _ARRAY.findall(result)]
    # A `-start` holds operand and result together; elsewhere several arrays are reduced at once.
    size = max(sizes) if f"{operation}-start(" in line else sum(sizes)
    factor = {"all-reduce": 2 / group, "reduce-scatter": 1.0, "collective-permute": 1.0 / max(1, group - 1)}
    return size * factor.get(operation, 1 / group) * (group - 1)


def _group_size(line: str) -> int:
    if listed := _LISTED_GROUP.search(line):
        return listed[1].count(",") + 1
    counted = _COUNTED_GROUPS.search(line)
    return int(counted[2]) if counted else 2


def _array_bytes(kind: str, shape: str) -> float:
    bits = 8 if kind == "pred" else int(re.sub(r"\D.*", "", kind.lstrip("abcdefghijklmnopqrstuvwxyz")) or 8)
    return math.prod(int(side) for side in shape.split(",") if side) * bits / 8
