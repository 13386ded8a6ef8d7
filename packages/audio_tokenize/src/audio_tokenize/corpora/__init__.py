"""Corpora: the shipped sample sets and every form in which people keep their own speech."""

from audio_tokenize.corpora.registry import SHIPPED, ShippedCorpus, open_corpus
from audio_tokenize.corpora.utterance import Corpus, Skipped, Utterance

__all__ = ["SHIPPED", "Corpus", "ShippedCorpus", "Skipped", "Utterance", "open_corpus"]
