"""Estimated FLOPs, memory and time of a run on a slice."""
