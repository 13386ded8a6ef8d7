"""Vocabularies: which ids mean what, as folders that datasets and models share."""
