"""The embedded codec: 24 kHz speech at 12.5 frames/s and 8 codebooks of 2,048, with weights inside the package.

Log-mel features of 80 ms tokens, principal components, residual k-means; back through the centroids, a small causal
network and Griffin-Lim. Its speech is intelligible and buzzy. Its tokens are its own: a model trained on them fits no
other codec's tokens.
"""

from audio_tokenize.codecs.embedded.codec import EmbeddedCodec, load_embedded

__all__ = ["EmbeddedCodec", "load_embedded"]
