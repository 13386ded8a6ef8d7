"""Readers of published layouts; each streams a shard's entries and holds no more than one recording."""
