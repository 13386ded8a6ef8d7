"""The web demo: speak to a checkpoint in a browser, on this machine, and hear what it makes of it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
