"""The folder of a run: resolved.json, launches, checkpoints, exported model, summary."""
