"""Every mixture of the study by name, as data.

Source: SODA (arXiv 2602.16687), its mixture definitions in marin-community/marin, `experiments/audio`
(`data_mixes.py`, `tokenize_yodas.py`, `exp1699_*.py`), and of its follow-up in potsawee/marin
(`preprocess_audio.py`). Weights are those of the source, which need not sum to 1.

A corpus is named by its collection, what was changed in it, and its language or split: `yodas2/en` holds both
document orders, `yodas2-asr/en` the audio-first one only, `emilia-fix/en` is free of the stray spaces of
`emilia/en`.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from audio_data import InputError, Mixture, Stage, nearest

# Tokens of the three English speech collections, in billions: what the study splits speech by.
_YODAS2, _EMILIA_YODAS, _EMILIA, _YODAS2_ASR = 131, 73, 37, 65
_TEXT = "nemotron_cc/hq_actual"
_TEXT_PERCENTS = (0, 2.5, 5, 7.5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
_YODAS_WEIGHTS = (1.5, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05)
_PILOT_TEXT_PERCENTS = (0, 10, 25, 50)
_ANNEAL_SCRIPT = "exp1699_marin_audio_135m_anneal_nemo.py"

_YODAS_LANGUAGES = {
    "en": 0.355727909201,
    "th": 0.000970575517,
    "ar": 0.00059,
    "de": 0.023203517508,
    "es": 0.073786617338,
    "fr": 0.034971397976,
    "hi": 0.000784368275,
    "zh": 0.00050167398,
}
_EMILIA_LANGUAGES = {
    "emilia/en": 0.217169374,
    "emilia/zh": 0.231554524,
    "emilia/de": 0.007424594,
    "emilia/fr": 0.00649652,
    "emilia/ja": 0.007888631,
    "emilia/ko": 0.000928074,
    "emilia-yodas/en": 0.427842227,
    "emilia-yodas/zh": 0.001392111,
    "emilia-yodas/de": 0.025986079,
    "emilia-yodas/fr": 0.034338747,
    "emilia-yodas/ja": 0.005104408,
    "emilia-yodas/ko": 0.03387471,
}


@dataclasses.dataclass(frozen=True)
class NamedMixture:
    """One mixture of the study.

    Attributes:
        name: Name; that of the source if it has one.
        weights: Weight of each dataset, as in the source.
        source: Script that defines it.
        use: Experiments that use it.
    """

    name: str
    weights: Mapping[str, int | float]
    source: str
    use: str

    @property
    def mixture(self) -> Mixture:
        """The mixture, with the order and rounding of the study's loader."""
        return Mixture(self.name, (Stage(0, self.weights),), reshuffle_each_epoch=False, remainder="largest_corpus")


def named_mixture(name: str) -> Mixture:
    """Find a mixture of the study by name.

    Args:
        name: Key of `MIXTURES`.

    Raises:
        InputError: The mixture does not exist; the message has the nearest names.
    """
    if name not in MIXTURES:
        raise InputError(f"there is no mixture `{name}`; {nearest(name, MIXTURES)}")
    return MIXTURES[name].mixture


def with_text(weights: Mapping[str, int | float], text_fraction: int | float) -> dict[str, float]:
    """Add text to a mixture of speech, as the study's scripts do.

    Args:
        weights: Speech corpora, each scaled by `1 - text_fraction`. Where they do not sum to 1, text gets another
            share than `text_fraction`, as it did in the source.
        text_fraction: Weight of text, 0 .. 1.
    """
    return {**{corpus: (1 - text_fraction) * weight for corpus, weight in weights.items()}, _TEXT: text_fraction}


def cooldown(n: int) -> dict[str, float]:
    """Weights of the study's cooldown mixture, in which `n` raises the share of the four small clean corpora.

    Args:
        n: 1, 2, ...; each step moves 0.053 from Emilia to the clean corpora.

    Source: `cooldown_mix_exp1(n)` in `data_mixes.py`.
    """
    moved = (n - 1) * 0.053
    return {
        "yodas2/en": 0.05,
        _TEXT: 0.05,
        "mls/en": 0.205,
        "emilia-fix/en": 0.217 - moved * 0.336,
        "emilia-yodas-fix/en": 0.428 - moved * 0.664,
        "peoples-speech/clean": 0.035 * n,
        "commonvoice17/en": 0.01 * n,
        "librispeech/train": 0.005 * n,
        "libritts-r/train": 0.003 * n,
    }


def _split(total: int | float, parts: Mapping[str, int | float]) -> dict[str, float]:
    """Divide a weight among datasets in proportion to their sizes."""
    size = sum(parts.values())
    return {corpus: total * part / size for corpus, part in parts.items()}


def _mix3_v5(yodas_weight: float, third: float = 0.333) -> dict[str, float]:
    return {
        "mls/en": third,
        "emilia-fix/en": third,
        "emilia-yodas-fix/en": 0.119,
        "yodas2/en": 0.214 * yodas_weight,
    }


def _data_mixes() -> dict[str, dict[str, float]]:
    """Return the mixtures of `data_mixes.py` that take no argument. Three thirds are written 0.33333 there."""
    third = 0.33333
    core = {"mls/en": third, "emilia/en": third}
    core_fix = {"mls/en": third, "emilia-fix/en": third}
    both = {"emilia-yodas/en": _EMILIA_YODAS, "yodas2/en": _YODAS2}
    both_fix = {"emilia-yodas-fix/en": _EMILIA_YODAS, "yodas2/en": _YODAS2}
    asr_fix = {"emilia-yodas-fix/en": _EMILIA_YODAS, "yodas2-asr/en": _YODAS2_ASR}
    tts_gigabytes = {"mls-tts0/en": 51, "emilia-conversational/en": 114}
    return {
        "mix2_v1": {"emilia/en": 0.5, **_split(0.5, both)},
        "mix2_v2": {**core_fix, "emilia-yodas-fix/en": third},
        # Two thirds in all, so that normalisation gives Emilia half.
        "mix2_v3": {"emilia-fix/en": third, **_split(third, asr_fix)},
        "mix3_v1": {**core, **_split(third, both)},
        "mix3_v2": {"yodas2-asr/en": 0.5, **_split(0.5, tts_gigabytes)},
        "mix3_v3": {**core_fix, **_split(third, both_fix)},
        "mix3_v4": {**core_fix, **_split(third, asr_fix)},
    }


def _study() -> list[NamedMixture]:
    """All mixtures, in the order of the study."""
    speech = {"yodas2/en": _YODAS2, "emilia-yodas/en": _EMILIA_YODAS, "emilia/en": _EMILIA}
    yodas = {f"yodas2/{language}": weight for language, weight in _YODAS_LANGUAGES.items()}
    english = {corpus: _EMILIA_LANGUAGES[corpus] for corpus in ("emilia/en", "emilia-yodas/en")}
    mixes = _data_mixes()
    anneals = {"mix3_v3": mixes["mix3_v3"], "mix2_v2": mixes["mix2_v2"], "mix3_v5_w0.05": _mix3_v5(0.05, 0.33333)}
    extension = {"yodas2/en": 0.544, "emilia-yodas-fix/en": 0.303, "emilia-fix/en": 0.154}
    pilot = {"emilia/en": 0.33669, "emilia-yodas/en": 0.66331}
    return [
        NamedMixture("soda", with_text(_split(1, speech), 0.05), "exp1699_marin_audio_all.py", "Exp 1.6, 2.1, 2.2"),
        NamedMixture("yodas8", yodas, "tokenize_yodas.py", "Exp 1.1"),
        NamedMixture("emilia_all", _EMILIA_LANGUAGES, "tokenize_emilia.py", "all languages of Emilia"),
        NamedMixture("emilia_english", english, "tokenize_emilia.py", "English of Emilia"),
        *(NamedMixture(name, weights, "data_mixes.py", "Exp 1.2, 1.3") for name, weights in mixes.items()),
        *(NamedMixture(f"mix3_v5_w{w:g}", _mix3_v5(w), "data_mixes.py", "sweep over YODAS2") for w in _YODAS_WEIGHTS),
        NamedMixture("cooldown_exp1", cooldown(1), "data_mixes.py", "no script of the study uses it"),
        *(_text_mix(percent) for percent in _TEXT_PERCENTS),
        *(_pilot_mix(pilot, percent) for percent in _PILOT_TEXT_PERCENTS),
        *(
            NamedMixture(
                f"{name}_text", with_text(weights, 0.05), "exp1699_marin_audio_135m_anneal_nemo.py", "135M anneal"
            )
            for name, weights in anneals.items()
        ),
        NamedMixture(
            "soda_extension", extension, "preprocess_audio.py", "SODA-extension: the speech of soda, without text"
        ),
    ]


def _text_mix(percent: int | float) -> NamedMixture:
    weights = with_text({"yodas2/en": 1.0}, percent / 100)
    return NamedMixture(f"text_{percent:g}", weights, "exp1699_nemotron_sweep.py", "Exp 1.4")


def _pilot_mix(speech: Mapping[str, int | float], percent: int | float) -> NamedMixture:
    weights = {corpus: weight * (1 - percent / 100) for corpus, weight in speech.items()}
    return NamedMixture(
        f"dclm_{percent:g}", {**weights, "dclm_baseline": percent / 100}, "exp1978_unimodal_mix.py", "exp1978"
    )


MIXTURES: dict[str, NamedMixture] = {mix.name: mix for mix in _study()}
WEIGHTS: Mapping[str, Mapping[str, int | float]] = MappingProxyType({m.name: m.weights for m in MIXTURES.values()})
"""Weights of each mixture, by its name."""


def mixture_name(weights: Mapping[str, float]) -> str | None:
    """Name of mixture weights: the only dataset, or a key of `MIXTURES`; None otherwise."""
    if len(weights) == 1:
        return next(iter(weights))
    return next((name for name, known in WEIGHTS.items() if dict(known) == dict(weights)), None)
