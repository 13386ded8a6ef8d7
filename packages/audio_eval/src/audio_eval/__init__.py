"""Evaluate discrete audio language models: likelihoods, recognition, synthesis, and reports with audio.

Every score has its number of items, a confidence interval, the settings of the measurement, and the items it
is computed from.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
