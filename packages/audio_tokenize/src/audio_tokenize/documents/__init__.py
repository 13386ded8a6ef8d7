"""Documents: how utterances become one sequence of ids or one string, and how they are read back."""
