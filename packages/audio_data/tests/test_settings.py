from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from audio_data import InputError, read_setting, split_setting, with_settings


@dataclass(frozen=True)
class Shape:
    layers: int = 2
    width: int = 8


@dataclass(frozen=True)
class Named:
    size: str = "small"


@dataclass(frozen=True)
class Recipe:
    name: str = "x"
    steps: int = 10
    rate: float = 0.5
    speeds: tuple[float, ...] = (1.0,)
    limit: int | None = 3
    model: Shape | Named = field(default_factory=Shape)
    stages: tuple[Shape, ...] = (Shape(), Shape(3))
    weights: Mapping[str, float] = field(default_factory=lambda: {"a": 1.0})


def changed(*settings: str, **options: Any) -> Recipe:
    return with_settings(Recipe(), settings, "recipe", **options)


def test_values_take_the_type_of_their_field():
    found = changed("name=a=b", "steps=3", "rate=2", "speeds=[0.5, 1.5]")
    assert found == Recipe("a=b", 3, 2.0, (0.5, 1.5))
    assert type(found.rate) is float
    assert changed() == Recipe()
    assert changed(" name = a b ") == changed("name=a b") == Recipe("a b")


def test_a_field_that_holds_text_takes_a_number_as_it_is_written():
    assert [changed(f"name={text}").name for text in ("012", "1e3", "true", '"3"')] == ["012", "1e3", "true", "3"]


def test_a_dotted_name_reaches_into_values_tuples_and_mappings():
    found = changed("model.width=4", "stages.1.layers=5", "weights.b=2", "weights.a=0.5", "limit=null")
    assert found == Recipe(model=Shape(width=4), stages=(Shape(), Shape(5)), weights={"a": 0.5, "b": 2.0}, limit=None)
    assert changed('model={"size": "large"}').model == Named("large")


def test_old_names_are_translated_before_they_are_looked_up():
    found = changed(
        "num_steps=3", current=lambda names, value: ([{"num_steps": "steps"}.get(n, n) for n in names], value)
    )
    assert found == Recipe(steps=3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("step=3", r"`recipe` has no `step`; did you mean steps"),
        ("steps", r"`--set` must be NAME=VALUE, got 'steps'"),
        ("=3", r"`--set` must be NAME=VALUE, got '=3'"),
        ("steps=3.5", r"`recipe\.steps` takes a whole number, got 3\.5"),
        ("steps=true", r"`recipe\.steps` takes a whole number, got True"),
        ("speeds=1", r"`recipe\.speeds` takes a list, got 1"),
        ("rate=fast", r"`recipe\.rate` takes a number, got 'fast'"),
        ("rate=NaN", r"`recipe\.rate` takes a number, got 'NaN'"),
        ("modle.width=1", r"`recipe` has no `modle`; did you mean model"),
        ("model.widht=1", r"`recipe\.model` has no `widht`; did you mean width"),
        ("stages.2.layers=1", r"`recipe\.stages` has positions 0 to 1, got '2'"),
        ("steps.x=1", r"`recipe\.steps` holds 10, so it has no `x`; set it as a whole"),
    ],
)
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        changed(setting)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "3", 3),
        (float, "3", 3.0),
        (int | float, "3", 3.0),
        (float | None, "None", None),
        (int | None, "null", None),
        (bool, "False", False),
        (bool, "true", True),
        (str, "none", "none"),
        (str, "3", "3"),
        (str | None, "null", None),
        (Literal["none", "full"], "none", "none"),
        (tuple[int, ...], "[1, 2]", (1, 2)),
    ],
)
def test_a_setting_is_read_as_its_type(annotation, text, value):
    found = read_setting(annotation, text, "task.x")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        (int, "3.0", r"`task\.x` takes a whole number, got 3\.0"),
        (float, "inf", r"`task\.x` takes a number, got 'inf'"),
        (bool, "yes", r"`task\.x` takes true or false, got 'yes'"),
        (Literal["a", "b"], "c", r"`task\.x` takes one of 'a', 'b', got 'c'"),
        (Path, "x", r"`task\.x` must be a number, text, true or false to be set here, got a field of .*Path"),
    ],
)
def test_text_of_another_type_is_refused(annotation, text, message):
    with pytest.raises(InputError, match=message):
        read_setting(annotation, text, "task.x")


def test_the_form_of_a_setting_may_have_an_example():
    assert split_setting(" a.b = c=d ") == ("a.b", "c=d")
    with pytest.raises(InputError, match=r"`--set` must be TASK\.SETTING=VALUE, such as tts\.top_k=1, got 'x'"):
        split_setting("x", "TASK.SETTING=VALUE, such as tts.top_k=1")
