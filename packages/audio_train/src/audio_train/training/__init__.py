"""Training: first weights, the step, the loop, signals, the launch."""
