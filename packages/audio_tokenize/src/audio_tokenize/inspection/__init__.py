"""Inspection: documents and codes as text and sound, statistics, cards, and estimates before encoding."""
