from dataclasses import dataclass

import pytest

from audio_data import InputError
from audio_tokenize.settings import with_settings


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
        ("step=3", "a name among name, steps, rate, speeds, got 'step=3'"),
        ("steps", "`set` must be NAME=VALUE"),
        ("steps=3.5", "`steps` must be of type int, as in steps=10, got '3.5'"),
        ("steps=true", "`steps` must be of type int"),
        ("speeds=1", "`speeds` must be of type tuple"),
        ("rate=fast", "`rate` must be of type float, as in rate=0.5, got 'fast'"),
    ],
)
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        with_settings(Recipe(), [setting])
