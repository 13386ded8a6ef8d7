"""Speech, transcripts and text to discrete token records: codecs, text tokenizers, document layouts, corpora, jobs.

Names are loaded when they are first used, so that importing the package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
