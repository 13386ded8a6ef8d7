"""Encoding: from recordings to codes on disk, on one process or many, resumable at any moment."""
