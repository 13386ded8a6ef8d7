"""How weights change: update rules, learning rates over a run, and the rules that choose them."""
