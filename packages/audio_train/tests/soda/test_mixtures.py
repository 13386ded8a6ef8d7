import pytest

from audio_data import InputError
from audio_train.soda.mixtures import MIXTURES, cooldown, named_mixture

# Normalised weights, from the study's own tables.
EXPECTED = {
    "soda": {
        "yodas2/en": 0.51639,
        "emilia-yodas/en": 0.28776,
        "emilia/en": 0.14585,
        "nemotron_cc/hq_actual": 0.05,
    },
    "mix2_v1": {"emilia/en": 0.5, "emilia-yodas/en": 0.17892, "yodas2/en": 0.32108},
    "mix2_v2": {"mls/en": 1 / 3, "emilia-fix/en": 1 / 3, "emilia-yodas-fix/en": 1 / 3},
    "mix2_v3": {"emilia-fix/en": 0.5, "emilia-yodas-fix/en": 0.26449, "yodas2-asr/en": 0.23551},
    "mix3_v1": {"mls/en": 1 / 3, "emilia/en": 1 / 3, "emilia-yodas/en": 0.11928, "yodas2/en": 0.21405},
    "mix3_v2": {"yodas2-asr/en": 0.5, "mls-tts0/en": 0.15455, "emilia-conversational/en": 0.34545},
    "mix3_v3": {"mls/en": 1 / 3, "emilia-fix/en": 1 / 3, "emilia-yodas-fix/en": 0.11928, "yodas2/en": 0.21405},
    "mix3_v4": {"mls/en": 1 / 3, "emilia-fix/en": 1 / 3, "emilia-yodas-fix/en": 0.17633, "yodas2-asr/en": 0.15700},
    "mix3_v5_w0.05": {
        "mls/en": 0.41850,
        "emilia-fix/en": 0.41850,
        "emilia-yodas-fix/en": 0.14955,
        "yodas2/en": 0.01345,
    },
    "emilia_english": {"emilia/en": 0.33669, "emilia-yodas/en": 0.66331},
    "text_0": {"yodas2/en": 1},
    "text_100": {"nemotron_cc/hq_actual": 1},
    "dclm_25": {"emilia/en": 0.25252, "emilia-yodas/en": 0.49748, "dclm_baseline": 0.25},
    # The two English collections of Emilia, 0.33669 and 0.66331, scaled to what DCLM leaves.
    "dclm_0": {"emilia/en": 0.33669, "emilia-yodas/en": 0.66331},
    "dclm_10": {"emilia/en": 0.303021, "emilia-yodas/en": 0.596979, "dclm_baseline": 0.1},
    "dclm_50": {"emilia/en": 0.168345, "emilia-yodas/en": 0.331655, "dclm_baseline": 0.5},
    "soda_extension": {"yodas2/en": 0.54346, "emilia-yodas-fix/en": 0.30270, "emilia-fix/en": 0.15385},
    "yodas8": {
        "yodas2/en": 0.72518,
        "yodas2/th": 0.00198,
        "yodas2/ar": 0.00120,
        "yodas2/de": 0.04730,
        "yodas2/es": 0.15042,
        "yodas2/fr": 0.07129,
        "yodas2/hi": 0.00160,
        "yodas2/zh": 0.00102,
    },
    "emilia_all": {
        "emilia/en": 0.21717,
        "emilia/zh": 0.23155,
        "emilia/de": 0.00742,
        "emilia/fr": 0.00650,
        "emilia/ja": 0.00789,
        "emilia/ko": 0.00093,
        "emilia-yodas/en": 0.42784,
        "emilia-yodas/zh": 0.00139,
        "emilia-yodas/de": 0.02599,
        "emilia-yodas/fr": 0.03434,
        "emilia-yodas/ja": 0.00510,
        "emilia-yodas/ko": 0.03387,
    },
    "cooldown_exp1": {
        "yodas2/en": 0.04985,
        "nemotron_cc/hq_actual": 0.04985,
        "mls/en": 0.20439,
        "emilia-fix/en": 0.21635,
        "emilia-yodas-fix/en": 0.42672,
        "peoples-speech/clean": 0.03490,
        "commonvoice17/en": 0.00997,
        "librispeech/train": 0.00499,
        "libritts-r/train": 0.00299,
    },
    **{
        f"text_{percent:g}": {"yodas2/en": 1 - percent / 100, "nemotron_cc/hq_actual": percent / 100}
        for percent in (2.5, 5, 7.5, 10, 20, 30, 40, 50, 60, 70, 80, 90)
    },
    **{
        f"mix3_v5_w{weight:g}": {
            corpus: share / (0.785 + 0.214 * weight)
            for corpus, share in (
                ("mls/en", 0.333),
                ("emilia-fix/en", 0.333),
                ("emilia-yodas-fix/en", 0.119),
                ("yodas2/en", 0.214 * weight),
            )
        }
        for weight in (1.5, 0.8, 0.6, 0.4, 0.2, 0.1)
    },
    "mix2_v2_text": {
        **dict.fromkeys(("mls/en", "emilia-fix/en", "emilia-yodas-fix/en"), 0.95 / 3),
        "nemotron_cc/hq_actual": 0.05,
    },
    # Speech of 0.33333 + 0.33333 + 0.119 + 0.0107 = 0.79636 is scaled by 0.95 and not to 0.95: 0.756542 beside 0.05 of
    # text, so that text is 0.05 / 0.806542 of the whole, and not the 5 % that its name says.
    "mix3_v5_w0.05_text": {
        "mls/en": 0.392619,
        "emilia-fix/en": 0.392619,
        "emilia-yodas-fix/en": 0.140166,
        "yodas2/en": 0.012603,
        "nemotron_cc/hq_actual": 0.061993,
    },
    "mix3_v3_text": {
        "mls/en": 0.31667,
        "emilia-fix/en": 0.31667,
        "emilia-yodas-fix/en": 0.11332,
        "yodas2/en": 0.20335,
        "nemotron_cc/hq_actual": 0.05,
    },
}


@pytest.mark.parametrize("name", EXPECTED)
def test_weights_are_those_of_the_study(name):
    assert named_mixture(name).weights(0) == pytest.approx(EXPECTED[name], abs=1e-5)


def test_no_mixture_is_unchecked():
    assert set(MIXTURES) == set(EXPECTED)


def test_every_mixture_has_a_source_and_a_place_for_each_corpus():
    for name, mix in MIXTURES.items():
        assert mix.source.endswith(".py")
        assert mix.use
        assert min(mix.mixture.shares(0)) >= 1, name


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("soda", [1057 + 2, 589, 298, 102]),
        ("yodas8", [1485 + 2, 4, 2, 96, 308, 146, 3, 2]),
        ("mix3_v1", [682 + 2, 682, 244, 438]),
        ("text_2.5", [1996 + 1, 51]),
        ("dclm_25", [517, 1018 + 1, 512]),
    ],
)
def test_places_of_a_block_are_those_of_the_study(name: str, places: list[int]):
    """The whole part of weight x 2,048 each; the first number of a sum is that, the second what was left over."""
    assert list(named_mixture(name).shares(0)) == places


def test_families_are_complete():
    assert sum(name.startswith("text_") for name in MIXTURES) == 14
    assert sum(name.startswith("mix3_v5_w") and not name.endswith("_text") for name in MIXTURES) == 7
    assert len(MIXTURES["yodas8"].weights) == 8
    assert len(MIXTURES["emilia_all"].weights) == 12
    assert sum(MIXTURES["emilia_all"].weights.values()) == pytest.approx(1)


# By hand from `cooldown_mix_exp1(n)`: 0.053 x 0.336 = 0.017808 of Emilia and 0.053 x 0.664 = 0.035192 of Emilia-YODAS
# move at each step. Each n adds 0.053 to the four clean corpora and takes as much from Emilia, so the sum stays 1.003.
COOLDOWNS = {
    2: {
        "yodas2/en": 0.05,
        "nemotron_cc/hq_actual": 0.05,
        "mls/en": 0.205,
        "emilia-fix/en": 0.199192,
        "emilia-yodas-fix/en": 0.392808,
        "peoples-speech/clean": 0.07,
        "commonvoice17/en": 0.02,
        "librispeech/train": 0.01,
        "libritts-r/train": 0.006,
    },
    3: {
        "yodas2/en": 0.05,
        "nemotron_cc/hq_actual": 0.05,
        "mls/en": 0.205,
        "emilia-fix/en": 0.181384,
        "emilia-yodas-fix/en": 0.357616,
        "peoples-speech/clean": 0.105,
        "commonvoice17/en": 0.03,
        "librispeech/train": 0.015,
        "libritts-r/train": 0.009,
    },
}


@pytest.mark.parametrize("n", COOLDOWNS)
def test_cooldowns_after_the_first_have_the_weights_of_the_study(n):
    assert cooldown(n) == pytest.approx(COOLDOWNS[n], abs=1e-9)
    assert sum(COOLDOWNS[n].values()) == pytest.approx(1.003)


def test_an_unknown_mixture_is_named_with_the_nearest():
    with pytest.raises(InputError, match="there is no mixture `mix3v1`; did you mean mix3_v1"):
        named_mixture("mix3v1")
