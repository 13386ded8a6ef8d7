"""The web demo: speech and text to and from a checkpoint, in a browser on this machine."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
