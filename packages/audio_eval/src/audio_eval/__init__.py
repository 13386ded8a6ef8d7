"""Evaluate discrete audio language models: likelihoods, recognition, synthesis, and reports that people can hear.

Every score carries its number of items, a confidence interval, the settings it was measured with, and the items it
rests on.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
