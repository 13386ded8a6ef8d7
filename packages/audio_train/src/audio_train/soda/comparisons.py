"""The comparisons of docs/miniature.md as data: runs, columns and interpretation."""

from collections.abc import Sequence
from types import MappingProxyType

from audio_data import InputError, nearest
from audio_train.soda.miniature import Column, CurveColumn, RunComparison
from audio_train.soda.run_losses import Softmax

_SPEECH, _TEXT = "yodas2/en", "nemotron_cc/hq_actual"
_TRANSLATION = "cvss-sft/method1"

_TOKENS = RunComparison(
    name="tokens",
    title="Semantic codes, all codes, codes and transcripts",
    question="What does a document's content do to what is learned of each kind of token, at equal tokens?",
    runs=MappingProxyType(
        {
            "exp1.7-semantic": "first codebook",
            "exp1.7-semantic-acoustic": "all eight",
            "exp1.7-interleaved": "all eight and transcripts",
        }
    ),
    columns=(
        Column("first codebook", "semantic"),
        Column("other codebooks", "acoustic"),
        Column("transcripts", "text"),
    ),
    published="the first codebook alone is best on sBLIMP and sWUGGY; all codebooks bring SALMon above 69 and lower "
    "sBLIMP and sWUGGY; with transcripts come recognition, synthesis and text, at little acoustic harm",
    carries_over="That the first codebook is predicted far better when nothing else is in the stream agrees with "
    "the study, and for the same reason: at equal tokens such a stream holds eight times the speech. "
    "So does that transcripts cost the codes little. What they add to meaning does not carry over: "
    "the samples' sentences are made of few words, and no miniature is scored on sBLIMP, sWUGGY or "
    "SALMon here.",
)

_RATIO = RunComparison(
    name="text-ratio",
    title="How much text",
    question="What do speech and text lose and gain as plain text takes a larger share?",
    runs=MappingProxyType({f"exp1.4-text-{p}": f"{p} % text" for p in ("0", "5", "20", "50", "100")}),
    columns=(
        Column("text", "text", _TEXT),
        Column("transcripts", "text", _SPEECH),
        Column("first codebook", "semantic", _SPEECH),
        Column("other codebooks", "acoustic", _SPEECH),
    ),
    published="text gains most between 0 and 2.5 %; audio loss is about flat up to 5 % and worse beyond, so that 5 % "
    "went into the main mixture",
    carries_over="The direction does: text gains most from its first shares, and speech loses little by them and "
    "more by the next. Where that turns does not: 5 % of so short a run is 7,000 tokens of text, so "
    "that here the bend lies between 20 and 50 %. Nor do the losses of codes mean much yet: guessing "
    "within the right codebook would cost 7.62, and these models are still learning which codebook "
    "comes next.",
)

_MIX = RunComparison(
    name="data-mix",
    title="Which speech",
    question="Does a model do best on the speech it was trained on, and what does a blend cost on each part?",
    runs=MappingProxyType(
        {
            "exp1.2-yodas2-en": "YODAS2",
            "exp1.2-emilia-english": "Emilia",
            "exp1.2-mls-en": "MLS",
            "exp1.2-mix3-v1": "all three",
        }
    ),
    columns=(
        Column("YODAS2", "all", _SPEECH),
        Column("Emilia", "all", "emilia/en"),
        Column("MLS", "all", "mls/en"),
    ),
    published="with MLS in the blend ASR WER was 92.6 and TTS WER 35.7, and so it was left out; no losses by corpus",
    carries_over="Only the mechanism does: a model is best on speech like its own, one voice transfers to others "
    "worse than many, and a blend gives up little on its larger parts. Which corpus is better does not: the "
    "stand-ins are the same sentences by other voices, one of them alone for MLS, and what ruled MLS out at full "
    "scale has no counterpart here.",
)

_WARM = RunComparison(
    name="warm-start",
    title="Warm and cold starts",
    question="Is a model that has read text a better beginning?",
    runs=MappingProxyType({"exp2.1-0.6b": "from scratch", "exp2.2-0.6b": "from a text model"}),
    columns=(
        Column("text", "text", _TEXT),
        Column("transcripts", "text", _SPEECH),
        Column("first codebook", "semantic", _SPEECH),
        Column("other codebooks", "acoustic", _SPEECH),
    ),
    published="warm starts are unstable at 600M and recognise worse (WER 17.3 against 7.0 at 1.7B), and keep more of "
    "their knowledge of text",
    carries_over="Both signs are the study's: ahead in text, behind in codes. Their size is not, nor need the "
    "reason be: the miniature's text model is a few minutes old and has little to forget, but it has "
    "learned that no code ever follows anything, which speech must first undo. The loss spikes of the "
    "study do not appear in 488 steps.",
)

_WARM_FUNCTION = RunComparison(
    name="warm-start-function",
    title="Warm starts under another function",
    question="Are warm starts unstable because their weights have to compute another function than they have learned?",
    runs=MappingProxyType(
        {
            "exp2.1-0.6b": "from scratch",
            "exp2.2-0.6b": "from a text model, the run's function",
            "exp2.2-weights-function-0.6b": "from a text model, its own function",
        }
    ),
    columns=(
        CurveColumn("first step: texts", "text", "first"),
        CurveColumn("largest rise: texts", "text", "largest_rise"),
        CurveColumn("largest rise: first codebook", "semantic", "largest_rise"),
        CurveColumn("largest rise: other codebooks", "acoustic", "largest_rise"),
        Column("text", "text", _TEXT),
        Column("transcripts", "text", _SPEECH),
        Column("first codebook", "semantic", _SPEECH),
        Column("other codebooks", "acoustic", _SPEECH),
    ),
    published="warm starts are unstable, with loss spikes, at 600M (ASR WER fell to 21 and rose to 34); they loaded "
    "Qwen3x (rotary base 1e6, no scaling, epsilon 1e-6) into runs with base 5e5, Llama-3 scaling and epsilon 1e-5, "
    "which nobody named",
    carries_over="The confound is neither shown nor excluded. At this size no warm start is unstable under either "
    "function: their largest rises differ no more than those of seeds, and no more than from those of the run from "
    "scratch. The first step is one batch of 1,024 tokens, plain text or transcripts as the seed draws. 488 steps say "
    "little of 238,419, and a rise of the mean loss of sixteen steps of a thousand tokens is no spike of a batch of "
    "two million.",
    num_seeds=3,
)

_SFT = RunComparison(
    name="sft",
    title="Fine-tuning on translation",
    question="What does fine-tuning change about the answers to instructions, and what does it owe to its start?",
    runs=MappingProxyType(
        {
            "exp2.1-0.6b": "pretrained, not fine-tuned",
            "sft-cvss-method1-scratch": "fine-tuned from scratch",
            "sft-cvss-method1-qwen3x-0.6b": "fine-tuned from a text model",
            "sft-cvss-method1-soda-600m": "fine-tuned from the pretrained",
        }
    ),
    columns=(
        Column("answers: text", "text", _TRANSLATION),
        Column("answers: first codebook", "semantic", _TRANSLATION),
        Column("answers: other codebooks", "acoustic", _TRANSLATION),
        Column("answers: all", "all", _TRANSLATION),
    ),
    published="fine-tuning SODA-600M is clearly better than from scratch and than from Qwen3x (no numbers)",
    carries_over="That the pretrained start is far ahead is the study's result, and carries over for its reason: "
    "fine-tuning is too short to learn codes anew. The order of the other two does not, and "
    "translation itself does not: the parallel samples are a few hundred utterances, and a loss on "
    "given answers is no BLEU.",
)

_GRAMMAR = RunComparison(
    name="grammar-loss",
    title="A softmax over the allowed ids",
    question="What does training over the ids that the grammar allows, and never over the others, cost?",
    runs=MappingProxyType(
        {
            "grammar-loss-full": "all ids",
            "grammar-loss-factored": "allowed ids",
            "grammar-loss-finish": "allowed ids, then all for the last fifth",
        }
    ),
    columns=(
        Column("inside the allowed ids: all", "all", _SPEECH, "allowed"),
        Column("inside: first codebook", "semantic", _SPEECH, "allowed"),
        Column("inside: other codebooks", "acoustic", _SPEECH, "allowed"),
        Column("inside: transcripts", "text", _SPEECH, "allowed"),
        Column("over all ids: all", "all", _SPEECH, "full"),
        Column("share outside the allowed ids", "all", _SPEECH, "outside"),
    ),
    published="nothing: the study trains over all ids",
    carries_over="That a factored model says nothing about ids it never compared follows from its loss at any "
    "scale: decode it under its grammar, or finish it over all ids. Its lead inside the allowed ids "
    "should shrink with length: a full softmax learns the grammar once, and here that is still under "
    "way when the run ends. That 80 steps of all ids repair so little need not carry over: each "
    "of 16,384 rows has to be met often, and how long a finish that takes in a real run was not measured.",
)

# Description and softmax of each configuration.
_INITIALIZATION_SETTINGS: dict[str, tuple[str, Softmax]] = {
    "untied": ("an untied head and the study's update rule", "full"),
    "tied": ("a tied head and the study's update rule", "full"),
    "quickstart": ("the model, update rule and loss of the quickstart", "allowed"),
}


def _initialization(setting: str, what: str, softmax: Softmax) -> RunComparison:
    inside = "inside the allowed ids: " if softmax == "allowed" else ""
    return RunComparison(
        name=f"initialization-{setting}",
        title=f"How to begin: {what}",
        question="Does a short run learn more from vocabulary matrices as haliax draws them, or as this project does?",
        runs=MappingProxyType(
            {
                f"initialization-{setting}-unit-logits": "unit_logits",
                f"initialization-{setting}-haliax": "haliax, as the study",
            }
        ),
        columns=(
            Column(f"{inside}all", "all", _SPEECH, softmax),
            Column(f"{inside}first codebook", "semantic", _SPEECH, softmax),
            Column(f"{inside}other codebooks", "acoustic", _SPEECH, softmax),
            Column(f"{inside}transcripts", "text", _SPEECH, softmax),
        ),
        published="nothing: the study has one initialisation",
        carries_over="New recipes and the quickstart begin with `unit_logits`: it leads with a tied head (by 0.18 nats "
        "over all tokens). Elsewhere they differ by at most 0.08 nats, and beyond the seeds only in the "
        "quickstart's first codebook (0.06). Not measured at scale: small initial embeddings must first grow, which "
        "matters less the longer a run is.",
        num_seeds=3,
    )


_INITIALIZATIONS = tuple(
    _initialization(setting, what, softmax) for setting, (what, softmax) in _INITIALIZATION_SETTINGS.items()
)

COMPARISONS = (_TOKENS, _RATIO, _MIX, _WARM, _WARM_FUNCTION, _SFT, _GRAMMAR, *_INITIALIZATIONS)
"""In the order of the page."""


def find_comparisons(names: Sequence[str]) -> tuple[RunComparison, ...]:
    """Find comparisons by name, in the order of the page; all if no name is given.

    Raises:
        InputError: A comparison does not exist; the message has the nearest names.
    """
    known = {comparison.name: comparison for comparison in COMPARISONS}
    for name in names:
        if name not in known:
            raise InputError(f"there is no comparison `{name}`; {nearest(name, known)}")
    return tuple(comparison for comparison in COMPARISONS if not names or comparison.name in names)
