"""Corpora: the shipped sample sets, published ones, and every form in which people keep their own speech."""

from audio_tokenize.corpora.card import CorpusCard
from audio_tokenize.corpora.cards import CARDS, card
from audio_tokenize.corpora.corpus import AbstractCorpus, Corpus, CorpusShard, Skipped, Utterance
from audio_tokenize.corpora.entries import TRANSCRIPT_RULES
from audio_tokenize.corpora.published import PublishedCorpus
from audio_tokenize.corpora.registry import FORMS, SHIPPED, ShippedCorpus, open_corpus

__all__ = [
    "CARDS",
    "FORMS",
    "SHIPPED",
    "TRANSCRIPT_RULES",
    "AbstractCorpus",
    "Corpus",
    "CorpusCard",
    "CorpusShard",
    "PublishedCorpus",
    "ShippedCorpus",
    "Skipped",
    "Utterance",
    "card",
    "open_corpus",
]
