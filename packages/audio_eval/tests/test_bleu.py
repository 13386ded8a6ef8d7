import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_eval.bleu import TOKENIZERS, bleu, bleu_counts, sentence_bleu
from audio_eval.metrics import bootstrap

# Written by sacrebleu, whose version is in it.
TOKENS = json.loads(Path(__file__).with_name("bleu_tokens.json").read_text(encoding="utf-8"))
GOLDEN = json.loads(Path(__file__).with_name("bleu.json").read_text(encoding="utf-8"))


def corpus(references, hypotheses, tokenizer):
    counts = [bleu_counts(right, said, tokenizer) for right, said in zip(references, hypotheses, strict=True)]
    return float(bleu(np.sum(counts, axis=0)))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_corpus_and_sentences_are_sacrebleus(tokenizer):
    golden, references, hypotheses = GOLDEN[tokenizer], GOLDEN["refs"], GOLDEN["hyps"]
    assert corpus(references, hypotheses, tokenizer) == pytest.approx(golden["corpus"], abs=1e-9)
    sentences = [sentence_bleu(right, said, tokenizer) for right, said in zip(references, hypotheses, strict=True)]
    assert sentences == pytest.approx(golden["sentences"], abs=1e-9)
    assert corpus(["a b", "c"], ["x y", "z"], tokenizer) == golden["none"]
    assert corpus(["a b", "c w d e f"], ["a y", "z w v u s"], tokenizer) == pytest.approx(golden["part"], abs=1e-9)


def test_the_bootstrap_resamples_it():
    counts = [bleu_counts(right, said) for right, said in zip(GOLDEN["refs"], GOLDEN["hyps"], strict=True)]
    found = bootstrap(np.array(counts), bleu)
    assert found.value == pytest.approx(GOLDEN["13a"]["corpus"])
    assert 0 <= found.low < found.value < found.high <= 100


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_tokens_are_sacrebleus(tokenizer):
    assert [TOKENIZERS[tokenizer](text) for text in TOKENS["texts"]] == TOKENS["tokens"][tokenizer]


def test_the_code_points_that_zh_sets_apart_are_sacrebleus():
    alone = {point for first, last in TOKENS["zh_alone"] for point in range(first, last + 1)}
    points = [point for point in range(0x30000) if not 0xD800 <= point < 0xE000]
    assert {p for p in points if TOKENIZERS["zh"](f"a{chr(p)}b") == ["a", chr(p), "b"]} == alone


@pytest.fixture(scope="module")
def sacrebleu_metrics():
    return pytest.importorskip("sacrebleu.metrics", reason="needs sacrebleu")


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(text=st.text() | st.text("a1.,-\n &;lt\u3042\u4e00\u2014\uff0c"))
def test_tokens_are_those_of_the_installed_sacrebleu(sacrebleu_metrics, tokenizer, text):
    theirs = sacrebleu_metrics.BLEU(tokenize=tokenizer)._preprocess_segment(text).split()
    assert TOKENIZERS[tokenizer](text) == theirs
