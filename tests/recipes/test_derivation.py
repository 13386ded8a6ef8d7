"""Every number of every run of the study, derived once more from the rules of its sources, against the recipes.

Nothing here is taken from the recipes but the names of runs, corpora and sizes. Rules: the scripts of Marin's
`experiments/audio`, Levanter's schedule, cautious update, mixture and FLOP count, as docs/study.md cites them. Counts
of parameters are typed from published tables, or computed by the formula that reproduces them.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest

from audio_train import experiments, find_recipe, resolve

MARIN, QWEN3X = 128_256 + 4 + 8 * 2048, 151_669 + 2 + 4 + 8 * 2048
PUBLISHED = {
    name: study
    for study in experiments().values()
    if study.vocabulary is not None and not study.source.startswith("this project's own")
    for name in study.runs
}


@dataclass(frozen=True)
class Shape:
    """Width, feed-forward width, layers, heads, key heads and head width, and all parameters."""

    embed: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    parameters: int
    tied: bool = False
    vocab: int = MARIN


@dataclass(frozen=True)
class Row:
    """What a run comes to. The defaults are those of all pretraining outside the isoFLOP sweep."""

    shape: Shape
    batch: int
    steps: int
    peak: float
    mixture: dict[str, float]
    start: str | None = None
    betas: tuple[float, float] = (0.98, 0.98)
    epsilon: float = 1e-16
    weight_decay: float = 0.033
    z_loss: float = 1e-4
    rule: str = "cautious_adamc"
    warmup_decay_start_decay: tuple[int, int, int] | None = None
    decay_shape: str = "linear"
    min_ratio: float = 0.0
    entered_at: int = 0
    packing: str = "windows"

    @property
    def schedule(self) -> tuple[int, int, int]:
        """Warm-up of a tenth, decay of the last fifth, both truncated to steps, where nothing else is said."""
        warmup, decay = int(0.1 * self.steps), int(0.2 * self.steps)
        return self.warmup_decay_start_decay or (warmup, self.steps - decay, decay)


def steps_of(tokens: float, batch: int, row: int = 4096) -> int:
    return math.ceil(tokens / (batch * row))


def rows_of_block(weights: dict[str, float]) -> dict[str, int]:
    """int(weight x 2,048) of each corpus that has a weight; the largest gets what is left of the 2,048."""
    total = sum(weights.values())
    rows = {corpus: int(weight / total * 2048) for corpus, weight in weights.items() if weight > 0}
    rows[max(rows, key=rows.__getitem__)] += 2048 - sum(rows.values())
    return rows


# --- models -----------------------------------------------------------------------------------------------------------

S30 = Shape(192, 448, 8, 2, 2, 96, 31_020_480, tied=True)
S50 = Shape(256, 896, 12, 4, 4, 64, 48_440_064, tied=True)
S75 = Shape(336, 1024, 16, 4, 4, 84, 72_354_576, tied=True)
S150 = Shape(512, 1792, 20, 8, 8, 64, 150_103_040, tied=True)
PILOT = Shape(512, 1792, 6, 8, 8, 64, 170_929_408)
BLUEBERRY = Shape(1024, 3072, 28, 16, 8, 64, 648_614_400)
S1700_TIED = Shape(2048, 6144, 28, 16, 8, 128, 1_705_640_960, tied=True)
SODA = {
    "135m": Shape(512, 1792, 15, 8, 8, 64, 205_149_568),
    "0.6b": Shape(1024, 3072, 28, 16, 8, 128, 736_698_368),
    "1.7b": Shape(2048, 6144, 28, 16, 8, 128, 2_001_871_872),
    "4b": Shape(2560, 9728, 36, 32, 8, 128, 4_374_089_216),
}
WARM = {
    "0.6b": replace(SODA["0.6b"], vocab=QWEN3X, parameters=784_652_288),
    "1.7b": replace(SODA["1.7b"], vocab=QWEN3X, parameters=2_097_779_712),
}


def counted(s: Shape) -> int:
    """Two projections to queries' width, two to keys', three of the feed-forward; norms of width and of heads."""
    attention = 2 * s.embed * s.heads * s.head_dim + 2 * s.embed * s.kv_heads * s.head_dim
    layer = attention + 3 * s.embed * s.mlp + 2 * s.embed + 2 * s.head_dim
    return s.layers * layer + s.embed + s.vocab * s.embed * (1 if s.tied else 2)


# --- mixtures ---------------------------------------------------------------------------------------------------------


def split(total: float, **parts: float) -> dict[str, float]:
    return {name: total * part / sum(parts.values()) for name, part in parts.items()}


def named(weights: dict[str, float], fix: bool = False) -> dict[str, float]:
    """Short names to corpora: Emilia, Emilia-YODAS, YODAS2, the audio-first half of it, MLS, text."""
    tail = "-fix/en" if fix else "/en"
    corpora = {"e": f"emilia{tail}", "ey": f"emilia-yodas{tail}", "y": "yodas2/en", "ya": "yodas2-asr/en"}
    corpora |= {"m": "mls/en", "t": "nemotron_cc/hq_actual"}
    return {corpora[name]: weight for name, weight in weights.items()}


def scaled(weights: dict[str, float], by: float) -> dict[str, float]:
    return {name: weight * by for name, weight in weights.items()}


THIRD = 0.33333
SODA_MIX = named({**split(0.95, y=131, ey=73, e=37), "t": 0.05})
ENGLISH_EMILIA = named({"e": 0.217169374, "ey": 0.427842227})
YODAS = {
    "yodas2/en": 0.355727909201,
    "yodas2/th": 0.000970575517,
    "yodas2/ar": 0.00059,
    "yodas2/de": 0.023203517508,
    "yodas2/es": 0.073786617338,
    "yodas2/fr": 0.034971397976,
    "yodas2/hi": 0.000784368275,
    "yodas2/zh": 0.00050167398,
}
MIXTURES = {
    "mix2-v1": named({"e": 0.5, **split(0.5, ey=73, y=131)}),
    "mix2-v2": named({"m": THIRD, "e": THIRD, "ey": THIRD}, fix=True),
    "mix2-v3": named({"e": THIRD, **split(THIRD, ey=73, ya=65)}, fix=True),
    "mix3-v1": named({"m": THIRD, "e": THIRD, **split(THIRD, ey=73, y=131)}),
    "mix3-v2": {"yodas2-asr/en": 0.5, "mls-tts0/en": 0.5 * 51 / 165, "emilia-conversational/en": 0.5 * 114 / 165},
    "mix3-v3": named({"m": THIRD, "e": THIRD, **split(THIRD, ey=73, y=131)}, fix=True),
    "mix3-v4": named({"m": THIRD, "e": THIRD, **split(THIRD, ey=73, ya=65)}, fix=True),
    "yodas2-en": {"yodas2/en": 1.0},
    "emilia-english": ENGLISH_EMILIA,
    "mls-en": {"mls/en": 1.0},
}
SINGLE = {
    "peoples-speech-clean": "peoples-speech/clean",
    "commonvoice17-en": "commonvoice17/en",
    "librispeech-train": "librispeech/train",
    "libritts-r-train": "libritts-r/train",
}
COOLDOWN = {
    **named({"y": 0.05, "t": 0.05, "m": 0.205}),
    **named({"e": 0.217, "ey": 0.428}, fix=True),
    "peoples-speech/clean": 0.035,
    "commonvoice17/en": 0.01,
    "librispeech/train": 0.005,
    "libritts-r/train": 0.003,
}


def mix3_v5(weight: float, third: float = 0.333) -> dict[str, float]:
    return named({"m": third, "e": third, "ey": 0.119, "y": 0.214 * weight}, fix=True)


def with_text(weights: dict[str, float]) -> dict[str, float]:
    return {**scaled(weights, 0.95), "nemotron_cc/hq_actual": 0.05}


# --- runs -------------------------------------------------------------------------------------------------------------

ROOT_HALF, ROOT_TWO = math.sqrt(128 / 256), math.sqrt(512 / 256)
BLUEBERRY_RUN = Row(BLUEBERRY, 512, steps_of(500e9, 512), 0.003 * ROOT_TWO, YODAS)


def annealed(source: str, shape: Shape, mixture: dict[str, float]) -> Row:
    """50,000 steps after 190,000, on one line to zero that passes the first run's rate at the entry; 1 % of warm-up."""
    length = 190_000 + 50_000
    return Row(
        shape,
        512,
        50_000,
        length * 0.003 * ROOT_TWO / 50_000,
        mixture,
        start=f"{source}@190000",
        betas=(0.9, 0.95),
        epsilon=1e-8,
        z_loss=0.0,
        rule="adamw",
        warmup_decay_start_decay=(2400, 2400, length - 2400),
        entered_at=190_000,
    )


def isoflop() -> dict[str, Row]:
    """Seven budgets of forward operations over widths by 128 or 256, filtered, and seven targets without a filter."""
    found = {}
    targets = {3e19: (2048,), 6e19: (2048, 2304), 1e20: (2048, 2304, 2816, 3072)}
    for budget in (1e18, 3e18, 6e18, 1e19, 3e19, 6e19, 1e20):
        sweep = range(128, 2049, 128 if budget <= 9e18 else 256)
        for width, is_target in [*((w, False) for w in sweep), *((w, True) for w in targets.get(budget, ()))]:
            heads = max(1, width // 128)
            layers = round(width / (64 + 4 * math.log2(width) - 7))
            head, mlp, row = width // heads, 4 * width, 4096
            projections = 2 * width * (heads * head + 2 * heads * head) + 2 * width * width
            attention = 2 * row * heads * head + 3 * row * heads + 2 * row * head * heads
            flops = layers * (6 * width * mlp + projections + attention) + 2 * width * MARIN
            batch = 2 ** math.ceil(math.log2(budget / (flops * row * 65536)))
            while 0.33 * math.sqrt(batch) / width > 0.01:
                batch //= 2
            steps = round(budget / (flops * batch * row)) if batch else 0
            off = abs(steps * flops * batch * row - budget) / budget
            if not is_target and (batch < 8 or steps >= 400_000 or off > 0.01):
                continue
            shape = Shape(width, mlp, layers, heads, heads, head, 0)
            paper = f"{3 * budget:.2g}".replace("e+", "e")
            found[f"exp1.6-{paper}-d{width}"] = Row(
                replace(shape, parameters=counted(shape)),
                batch,
                steps,
                0.33 * math.sqrt(batch) / width,
                SODA_MIX,
                betas=(0.95, 0.98 ** (batch / 128)),
                epsilon=1e-15,
                weight_decay=0.1,
                z_loss=0.0,
            )
    return found


def translation(shape: Shape, corpus: str, tokens: float, min_ratio: float, start: str | None) -> Row:
    """Five passes counted with rows of 2,048 tokens; a cosine over the whole run, which leaves the warm-up out."""
    steps = 5 * steps_of(tokens, 64, 2048)
    return Row(
        shape,
        64,
        steps,
        2e-5,
        {corpus: 1.0},
        start=start,
        betas=(0.9, 0.999),
        epsilon=1e-8,
        weight_decay=0.01,
        warmup_decay_start_decay=(int(0.03 * steps), 0, steps),
        decay_shape="cosine",
        min_ratio=min_ratio,
        packing="windows" if corpus == "cvss/method1" else "next_fit",
    )


STARTS = {
    "soda-600m": (SODA["0.6b"], "potsawee/soda-600m-base"),
    "soda-p": (BLUEBERRY, "WillHeld/blueberry"),
    "soda-600m-warm": (WARM["0.6b"], "potsawee/soda-600m-warmstart"),
    "qwen3x-0.6b": (WARM["0.6b"], "potsawee/qwen3x-0.6B-base"),
    "scratch": (SODA["0.6b"], None),
}
TEXT_PERCENTS = ("0", "2.5", "5", "7.5", *map(str, range(10, 101, 10)))
SIZES = {"": S150, "-75m": S75, "-50m": S50, "-30m": S30}
SMALL: dict[str, Any] = {"shape": S150, "batch": 128, "peak": 0.003 * ROOT_HALF * math.sqrt(512 / 1024)}
TABLE: dict[str, Row] = {
    "exp1.1": BLUEBERRY_RUN,
    **{f"exp1.2-{name}": Row(**SMALL, steps=steps_of(3e9, 128), mixture=mix) for name, mix in MIXTURES.items()},
    **{
        f"exp1.2-{name}-3b": Row(**SMALL, steps=steps_of(3e9, 128), mixture=mix)
        for name, mix in {
            **{name: MIXTURES[name] for name in ("yodas2-en", "emilia-english", "mls-en")},
            **{name: {corpus: 1.0} for name, corpus in SINGLE.items()},
        }.items()
    },
    **{
        f"exp1.2-mix3-v5-w{weight:g}-10b": Row(**SMALL, steps=steps_of(10e9, 128), mixture=mix3_v5(weight))
        for weight in (1.5, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05)
    },
    **{
        f"exp1.3-{name}": annealed("exp1.1", BLUEBERRY, MIXTURES[name])
        for name in ("mls-en", "emilia-english", "yodas2-en", "mix3-v1", "mix2-v1")
    },
    **{
        f"exp1.4-text-{percent}{size}": Row(
            shape,
            128,
            steps_of(10e9, 128),
            0.003 * ROOT_HALF,
            named({"y": 1 - float(percent) / 100, "t": float(percent) / 100}),
        )
        for size, shape in SIZES.items()
        for percent in TEXT_PERCENTS
    },
    **isoflop(),
    **{
        f"exp1.7-{name}": Row(
            S1700_TIED, 128, steps_of(30e9, 128), 0.002 * ROOT_HALF * math.sqrt(2048 / 1024), {corpus: 1.0}
        )
        for name, corpus in {
            "semantic": "yodas2-semantic/en",
            "semantic-acoustic": "yodas2-acoustic/en",
            "interleaved": "yodas2/en",
        }.items()
    },
    **{
        f"exp1978-dclm-{percent}": Row(
            PILOT,
            512,
            steps_of(100e9, 512),
            0.003 * ROOT_TWO,
            {**scaled(named({"e": 0.33669, "ey": 0.66331}), 1 - percent / 100), "dclm_baseline": percent / 100},
        )
        for percent in (0, 10, 25, 50)
    },
    **{
        f"exp2.1-{size}": Row(
            shape, 512, steps_of(500e9, 512), 0.003 * ROOT_TWO * math.sqrt(1024 / max(shape.embed, 1024)), SODA_MIX
        )
        for size, shape in SODA.items()
    },
    **{
        f"exp2.1-135m-anneal-{name}": annealed("exp2.1-135m", SODA["135m"], with_text(mix))
        for name, mix in {
            "mix3-v3": MIXTURES["mix3-v3"],
            "mix2-v2": MIXTURES["mix2-v2"],
            "mix3-v5-w0.05": mix3_v5(0.05, THIRD),
        }.items()
    },
    **{
        f"exp2.2-{size}": Row(
            shape,
            512,
            steps_of(500e9, 512),
            0.003 * ROOT_TWO * math.sqrt(1024 / shape.embed),
            SODA_MIX,
            start=f"potsawee/qwen3x-{size.upper()}-base",
        )
        for size, shape in WARM.items()
    },
    **{
        f"sft-cvss-{method}-{name}": translation(shape, f"cvss-sft/{method}", 750e6, 0.1, source)
        for method in ("method1", "method2")
        for name, (shape, source) in STARTS.items()
    },
    **{
        f"finetune-cvss-{name}": translation(shape, "cvss/method1", 700e6, 0.0, source)
        for name, (shape, source) in STARTS.items()
    },
    "cooldown-exp1": annealed("exp1.1", BLUEBERRY, COOLDOWN),
}


def test_the_table_holds_every_run_of_the_study():
    assert set(TABLE) == set(PUBLISHED)
    # All runs of the source, and one for a mixture that no script of it uses.
    assert len(TABLE) == 183 + 1
    assert sum(name.startswith("exp1.6-") for name in TABLE) == 7 + 12 + 14 + 7 + 7 + 6 + 6 + 7 == 66


def test_the_table_is_the_one_that_is_published_where_it_is():
    for row in TABLE.values():
        assert counted(row.shape) == row.shape.parameters
    assert (MARIN, QWEN3X) == (144_644, 168_059)
    published = {
        "exp2.1-4b": (238_419, 0.0026833),
        "exp2.1-1.7b": (238_419, 0.0030000),
        "exp2.1-135m": (238_419, 0.0042426),
        "exp1.1": (238_419, 0.0042426),
        "exp1.2-mix3-v1": (5_723, 0.0015),
        "exp1.2-mix3-v5-w0.1-10b": (19_074, 0.0015),
        "exp1.4-text-5": (19_074, 0.0021213),
        "exp1.7-semantic": (57_221, 0.002),
        "exp1978-dclm-10": (47_684, 0.0042426),
        "exp1.6-9e18-d768": (48_244, 0.002431),
        "exp1.6-9e19-d1408": (35_314, 0.002652),
        "exp1.6-1.8e20-d1664": (46_637, 0.002244),
        "exp1.6-3e20-d3072": (33_266, 0.000859),
        "sft-cvss-method1-soda-p": (28_615, 2e-5),
        "finetune-cvss-scratch": (26_705, 2e-5),
    }
    for name, (steps, peak) in published.items():
        assert TABLE[name].steps == steps, name
        assert TABLE[name].peak == pytest.approx(peak, abs=6e-7), name
    assert rows_of_block(SODA_MIX) == dict(zip(SODA_MIX, (1057 + 2, 589, 298, 102), strict=True))
    assert rows_of_block(YODAS)["yodas2/ar"] == 2
    assert rows_of_block(YODAS)["yodas2/en"] == 1487
    assert TABLE["exp1.6-9e18-d768"].shape.parameters == 297_685_760


@pytest.mark.parametrize("name", TABLE)
def test_a_recipe_has_the_numbers_of_its_sources(name: str):
    row, (study, run) = TABLE[name], find_recipe(name)
    vocabulary = study.vocabulary_of(name)
    assert vocabulary is not None
    resolved = resolve(run, vocabulary)
    found = resolved.to_json()["derived"]
    model, s = resolved.model, row.shape
    assert (model.vocab_size, model.embed, model.mlp, model.layers) == (s.vocab, s.embed, s.mlp, s.layers)
    assert (model.heads, model.kv_heads, model.head_dim, model.tied) == (s.heads, s.kv_heads, s.head_dim, s.tied)
    assert found["num_parameters"] == s.parameters
    assert (model.rms_epsilon, model.rope.theta, model.max_seq_len) == (1e-5, 500_000.0, 4096)
    scaling = model.rope.scaling
    assert scaling is not None
    assert (scaling.factor, scaling.low_frequency_factor, scaling.high_frequency_factor) == (8, 1, 4)
    assert scaling.original_max_position == 8192
    assert (run.data.batch_size, run.data.seq_len) == (row.batch, 4096)
    assert (found["num_steps"], found["num_tokens"]) == (row.steps, row.steps * row.batch * 4096)
    assert found["peak_learning_rate"] == pytest.approx(row.peak, rel=1e-9)
    schedule = (found["warmup_steps"], found["decay_start_step"], found["decay_steps"])
    assert schedule == row.schedule
    assert (run.schedule.shape, run.schedule.min_ratio) == (row.decay_shape, row.min_ratio)
    assert (found["first_step"], run.init.state) == (row.entered_at, "continue" if row.entered_at else "fresh")
    assert run.init.rope_and_epsilon_of == ("run" if run.init.kind == "model" else None)
    optimizer = run.optimizer
    assert (optimizer.name, optimizer.beta1, optimizer.epsilon) == (row.rule, row.betas[0], row.epsilon)
    assert optimizer.beta2 == pytest.approx(row.betas[1], rel=1e-12)
    assert (optimizer.weight_decay, optimizer.max_grad_norm) == (row.weight_decay, 1.0)
    assert optimizer.cautious_mean == "stacked" or row.rule != "cautious_adamc"
    assert (run.loss.kind, run.loss.z_loss_weight, dict(run.loss.kind_weights)) == ("full", row.z_loss, {})
    assert [stage["rows_of_block"] for stage in found["mixture"]] == [rows_of_block(row.mixture)]
    assert found["mixture"][0]["weights"] == pytest.approx(
        {corpus: w / sum(row.mixture.values()) for corpus, w in row.mixture.items() if w > 0}, rel=1e-9
    )
    assert (run.data.mixture_block, run.data.reshuffle_each_epoch, run.data.positions) == (2048, False, "continue")
    assert (run.data.packing, run.data.max_segments) == (row.packing, 64)
    assert run.init.source == row.start
    assert run.init.vocabulary_init == ("haliax" if row.start is None else "unit_logits")
    assert (run.precision, run.intervals.keep_every_steps, run.intervals.export_every_steps) == (
        "bfloat16",
        10_000,
        10_000,
    )
    assert run.intervals.evaluation is not None
    assert run.intervals.evaluation.every_steps == 1000
    assert run.intervals.evaluation.corpora == ("heldout/librispeech/dev-clean",)
