from dataclasses import dataclass

import pytest

from audio_data import InputError
from audio_tokenize.cli import with_settings


@dataclass(frozen=True)
class Recipe:
    name: str = "x"
    steps: int = 10
    rate: float = 0.5
    speeds: tuple[float, ...] = (1.0,)


def test_values_take_the_type_of_their_field():
    changed = with_settings(Recipe(), ["name=a=b", "steps=3", "rate=2", "speeds=[0.5, 1.5]"])
    assert changed == Recipe("a=b", 3, 2.0, (0.5, 1.5))
    assert type(changed.rate) is float
    assert with_settings(Recipe(), []) == Recipe()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("step=3", "`recipe` has no `step`; did you mean steps"),
        ("steps", "`--set` must be NAME=VALUE, got 'steps'"),
        ("steps=3.5", r"`recipe\.steps` takes a whole number, got 3\.5"),
        ("steps=true", r"`recipe\.steps` takes a whole number, got True"),
        ("speeds=1", r"`recipe\.speeds` takes a list, got 1"),
        ("rate=fast", r"`recipe\.rate` takes a number, got 'fast'"),
    ],
)
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        with_settings(Recipe(), [setting])
