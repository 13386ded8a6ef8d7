"""What a run's folder holds: its claim, its checkpoints, its exported model."""
