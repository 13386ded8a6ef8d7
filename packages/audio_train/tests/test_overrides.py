import pytest

from audio_data import InputError, from_json, to_json
from audio_train import LearningRateRule, ModelShape, NamedModel, TrainRun, override


def test_json_round_trip(toy_run: TrainRun):
    assert from_json(TrainRun, to_json(toy_run), "run") == toy_run


def test_values_take_their_field_s_type(toy_run: TrainRun):
    changed = override(
        toy_run,
        "optimizer.learning_rate=1",
        "model.layers=3",
        "data.packing=windows",
        "data.mixture.1.weights.long=5",
        "loss.kind_weights.audio=0.5",
        "intervals.checkpoint_steps=null",
    )
    assert changed.optimizer.learning_rate == 1.0
    assert isinstance(changed.optimizer.learning_rate, float)
    assert isinstance(changed.model, ModelShape)
    assert changed.model.layers == 3
    assert changed.data.packing == "windows"
    assert changed.data.mixture[1].weights == {"short": 1.0, "long": 5.0}
    assert changed.loss.kind_weights == {"text": 4.0, "audio": 0.5}
    assert changed.intervals.checkpoint_steps is None


def test_a_field_of_several_kinds_is_told_apart_by_its_fields(toy_run: TrainRun):
    changed = override(
        toy_run, 'model={"size": "135m"}', 'optimizer.learning_rate={"rule": "batch", "base": 0.003}', "seed=7"
    )
    assert changed.model == NamedModel("135m")
    assert changed.optimizer.learning_rate == LearningRateRule("batch", 0.003)
    assert changed.seed == 7


def test_fields_that_exclude_each_other_change_together(toy_run: TrainRun):
    changed = override(toy_run, "steps=null", "tokens=1e6")
    assert (changed.steps, changed.tokens) == (None, 1e6)
    with pytest.raises(InputError, match="exactly one of `steps` and `tokens`"):
        override(toy_run, "tokens=1e6")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimizer.beta=0.9", r"`run\.optimizer` has no `beta`; did you mean .*beta1"),
        ("optimzer.beta1=0.9", r"`run` has no `optimzer`; did you mean optimizer"),
        ("optimizer.beta1=high", r"`run\.optimizer\.beta1` takes a number, got 'high'"),
        ("model.layers=2.5", r"`run\.model\.layers` takes a whole number, got 2\.5"),
        ("model.tied=1", r"`run\.model\.tied` takes true or false, got 1"),
        ("optimizer.name=adam", r"takes one of 'cautious_adamc', 'adamw', 'muon', got 'adam'"),
        ("data.mixture.2.weights.short=1", r"`run\.data\.mixture` has positions 0 to 1, got '2'"),
        ("seed.x=1", r"`run\.seed` holds 0, so it has no `x`"),
        ("seed", r"`--set` must be path=value"),
        ("optimizer.beta2=1.5", r"`beta2` must be in \[0, 1\), got 1\.5"),
        ("data.mixture.0.start_fraction=0.2", r"start at fraction 0"),
    ],
)
def test_mistakes_name_the_field(toy_run: TrainRun, assignment: str, message: str):
    with pytest.raises(InputError, match=message):
        override(toy_run, assignment)
