"""Optimizers, learning-rate schedules, and rules for the peak learning rate."""
