"""What is recorded while a run goes on: metrics in its folder, other trackers, losses out of the ordinary."""
