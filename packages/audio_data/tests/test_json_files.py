import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data import InputError, decode_json, from_json, read_json, read_json_lines, to_json
from audio_data.json_files import MAX_DEPTH

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=12,
)


@dataclasses.dataclass(frozen=True)
class Inner:
    name: str
    pair: tuple[str, int] = ("a", 1)


@dataclasses.dataclass(frozen=True)
class Outer:
    count: int
    rate: float
    mode: Literal["a", "b"]
    parts: tuple[Inner, ...]
    anything: dict[str, Any]
    amount: int | float = 0
    flags: Mapping[str, bool] | None = None
    names: list[str] = dataclasses.field(default_factory=list)


OUTER = Outer(3, 0.5, "b", (Inner("x", ("y", 2)),), {"deep": [1, None]}, 2, {"on": True}, ["n"])


@given(JSON_VALUES)
def test_what_json_wrote_is_read_as_json_reads_it(value: Any):
    for ascii_only in (True, False):
        content = json.dumps(value, ensure_ascii=ascii_only).encode()
        assert decode_json(content) == json.loads(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected JSON"),
        (b"\0" * 100, "expected JSON"),
        (b"{", "expected JSON"),
        (b"{} {}", "expected JSON"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b"[-Infinity]", "-Infinity is no JSON number"),
        (b"1e999", "too large"),
        (b"9" * 5000, "expected JSON"),
        (b'{"a": 1, "a": 2}', "the key 'a' appears twice"),
        (b'"caf\xe9"', "expected UTF-8"),
        ('"hello"'.encode("utf-16"), "expected UTF-8"),
        (b'"\\ud83d"', "expected UTF-8"),
        (b'{"\\uDE00": 1}', "expected UTF-8"),
        ('"\ud83d"', "expected UTF-8"),
        (b"[" * 100_000, "nested"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nested"),
    ],
)
def test_anything_else_is_refused(content: bytes | str, message: str):
    with pytest.raises(InputError, match=message):
        decode_json(content)


def test_the_deepest_value_that_is_allowed():
    content = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert decode_json(content) == json.loads(content)
    assert decode_json(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused(content: bytes):
    try:
        value = decode_json(content)
    except InputError:
        return
    assert json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) == value


@given(st.data())
def test_a_damaged_file_is_refused_by_name_or_still_valid(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    path = tmp_path_factory.mktemp("json") / "outer.json"
    content = bytearray(json.dumps(to_json(OUTER)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        value = from_json(Outer, read_json(path, remedy="make it again"), "outer")
    except InputError:
        return
    assert from_json(Outer, to_json(value), "outer") == value


def test_files_that_are_none(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "large.json").write_text("{}" + " " * 99)
    for name, message in {
        "absent.json": "is missing; make it again",
        "fifo": "is no regular file; make it again",
        ".": "is no regular file",
        "list.json": r"list.json`: expected a JSON object, got \[1\]; make it again",
        "large.json": "large.json`: expected at most 100 bytes, got 101; make it again",
    }.items():
        with pytest.raises(InputError, match=message):
            read_json(tmp_path / name, remedy="make it again", max_bytes=100)


def test_lines_name_their_number(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"a": 2}\n{"a"')
    assert read_json_lines(path, remedy="run again", allow_cut=True) == [{"a": 1}, {"a": 2}]
    with pytest.raises(InputError, match=r"a\.jsonl`: line 4: expected JSON .*; run again"):
        read_json_lines(path, remedy="run again")
    path.write_bytes(b'{"a": 1}\n7\n')
    with pytest.raises(InputError, match="line 2: expected a JSON object, got 7"):
        read_json_lines(path, remedy="run again", allow_cut=True)


def test_typed_values_come_back():
    assert from_json(Outer, json.loads(json.dumps(to_json(OUTER))), "outer") == OUTER


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": True}, "`outer.count` takes a whole number, got True"),
        ({"count": 2**63}, "`outer.count` takes a whole number"),
        ({"rate": 10**400}, "`outer.rate` takes a number"),
        ({"mode": "c"}, "`outer.mode` takes one of 'a', 'b', got 'c'"),
        ({"parts": {}}, "`outer.parts` takes a list"),
        ({"parts": [{"name": 1}]}, "`outer.parts.0.name` takes text, got 1"),
        ({"parts": [{"name": "x", "pair": ["y"]}]}, "`outer.parts.0.pair` takes a list of 2"),
        ({"anything": []}, "`outer.anything` takes an object"),
        ({"flags": {"on": 1}}, "`outer.flags.on` takes true or false, got 1"),
        ({"names": [None]}, "`outer.names.0` takes text, got None"),
        ({"amount": "1"}, "`outer.amount` takes a whole number, got '1'"),
        ({"cuont": 1}, "`outer` has no `cuont`; did you mean count"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_path(change: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        from_json(Outer, {**to_json(OUTER), **change}, "outer")


def test_a_missing_field_is_named():
    with pytest.raises(InputError, match="`outer` lacks `count`, `rate`, `mode`, `parts`, `anything` of Outer"):
        from_json(Outer, {}, "outer")
    assert math.isclose(from_json(float, 3, "x"), 3.0)


@pytest.mark.parametrize("value", [2**1023 - 1, 2**1024 - 1, -(2**1024) + 1, 10**400])
def test_an_integer_beyond_every_float_is_refused_like_any_wrong_type(value):
    if abs(value) < 2**1023:
        assert from_json(float, value, "rate") == float(value)
        return
    with pytest.raises(InputError, match="`rate`"):
        from_json(float, value, "rate")
