"""From a resolved run to trained weights: where they begin, the step, the loop around it, the launch."""
