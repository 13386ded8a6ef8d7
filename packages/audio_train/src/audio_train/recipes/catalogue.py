"""Vocabularies, mixtures and update rules that several studies share, each written once."""

from audio_data import Vocabulary
from audio_train.config import LearningRateRule, OptimizerSpec, ScheduleSpec

MARIN_MIMI = Vocabulary(
    name="marin-mimi-8cb-16k",
    num_text=128_256,
    begin_of_text=128_000,
    end_of_text=128_001,
    text_start=128_256,
    text_end=128_257,
    audio_start=128_258,
    audio_end=128_259,
    audio_base=128_260,
    num_codebooks=8,
    codebook_size=2048,
    codec_id="mimi",
    text_tokenizer="marin-community/marin-tokenizer",
)
"""Llama-3 text ids, four more specials, eight Mimi codebooks: 144,644 ids."""

TEXT_SHARE = 0.05
SPEECH_TOKENS_BILLIONS = {"yodas2/en": 131, "emilia-yodas/en": 73, "emilia/en": 37}
SODA_MIXTURE = {
    **{
        name: (1 - TEXT_SHARE) * tokens / sum(SPEECH_TOKENS_BILLIONS.values())
        for name, tokens in SPEECH_TOKENS_BILLIONS.items()
    },
    "nemotron/hq-actual": TEXT_SHARE,
}
"""The study's main mixture: 5 % text, speech corpora in proportion to their tokens."""

WARMUP_STABLE_DECAY = ScheduleSpec(shape="linear", warmup=0.1, decay=0.2, min_ratio=0.0)
"""10 % warm-up, 70 % constant, 20 % linear decay to zero."""


def cautious_adamc(learning_rate: float | LearningRateRule) -> OptimizerSpec:
    """The study's optimizer outside the isoFLOP sweep.

    The cautious mask is averaged over each layer by itself; the published runs averaged it over all layers stacked
    (`cautious_mean="stacked"`), an accident of scanning over layers.
    """
    return OptimizerSpec(
        name="cautious_adamc",
        learning_rate=learning_rate,
        beta1=0.98,
        beta2=0.98,
        epsilon=1e-16,
        weight_decay=0.033,
        max_grad_norm=1.0,
        cautious_mean="layer",
    )
