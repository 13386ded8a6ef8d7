"""The SODA study (arXiv 2602.16687) and its follow-ups as recipes: every run, mixture, tokenization and checkpoint.

`experiments.EXPERIMENTS` is registered through the entry-point group `audio_train.recipes`, and the commands of
`audio-train soda` through `audio_train.commands`. No other part of `audio_train` imports this package.
"""
