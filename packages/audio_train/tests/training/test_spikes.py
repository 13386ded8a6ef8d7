import numpy as np

from audio_data import RowOrigin
from audio_train.training.recorder import MIN_LOSSES, SpikeWatch, records


def test_a_loss_far_above_the_usual_is_a_spike_and_noise_is_not():
    rng = np.random.default_rng(0)
    losses = 3.0 - 0.002 * np.arange(300) + 0.05 * rng.normal(size=300)
    losses[200] += 1.0
    watch = SpikeWatch(8.0)
    found = {step: usual for step, loss in enumerate(losses) if (usual := watch.check(float(loss))) is not None}
    assert list(found) == [200]
    assert abs(found[200] - np.median(losses[72:200])) < 1e-9


def test_a_higher_level_becomes_usual():
    watch = SpikeWatch(8.0, history=[1.0, 1.01] * 64)
    spikes = [watch.check(2.0) is not None for _ in range(100)]
    assert spikes[0]
    assert not spikes[-1]


def test_too_few_losses_or_none_that_is_finite_say_nothing():
    watch = SpikeWatch(8.0, history=[None, 1.0])
    assert [watch.check(loss) for loss in (100.0, float("nan"), *[1.0] * MIN_LOSSES)] == [None] * (MIN_LOSSES + 2)


def test_records_are_named_with_their_rows():
    origin = RowOrigin(row=0, corpus="short", epoch=1, index=7, documents=("utterance-3", "utterance-9"))
    assert records([origin]) == ["short row 7: utterance-3, utterance-9"]
