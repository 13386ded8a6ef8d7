"""Text tokenizers: published ones and a small one that can be trained in a second."""
