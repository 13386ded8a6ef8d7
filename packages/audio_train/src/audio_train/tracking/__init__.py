"""Metrics of a run: `metrics.jsonl`, other trackers, and loss spikes."""
