"""The embedded transcriber: the 73 words of the shipped sample corpus; needs no download."""

import hashlib
import json
import struct
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Float, Float32

from audio_eval.speech_models import embedded_network as network
from audio_eval.speech_models.base import shipped_weights
from audio_eval.speech_models.features import NUM_BANDS, log_mel

_FILE = "transcriber.safetensors"
REVISION = 1
_BATCH_SIZE = 16
# A batch's frames are rounded up to this, so that few shapes are compiled.
_FRAME_STEP = 128
_BLANK = 0


class EmbeddedTranscriber:
    """A small convolutional network with CTC over whole words, trained on the sample corpus's six synthetic voices.

    It transcribes every clip as a sequence of those 73 words, or as nothing: it suits models of the sample corpus,
    such as the quickstart's, and no others. Every report shows its error rate on the originals too.
    """

    def __init__(self, content: bytes | None = None):
        """Read the weights.

        Args:
            content: A safetensors file as `training` writes it; the shipped one by default.
        """
        content = shipped_weights(_FILE) if content is None else content
        tensors = safetensors.numpy.load(content)
        self._parameters = {name: jnp.asarray(value, jnp.float32) for name, value in tensors.items()}
        self.words: tuple[str, ...] = tuple(_metadata(content)["words"].split())
        self.language = "en"
        self._model_id = f"embedded-transcriber:{REVISION}:{hashlib.sha256(content).hexdigest()[:12]}"

    @property
    def model_id(self) -> str:
        """Name, revision of the network and the first twelve digits of the SHA-256 of the weights."""
        return self._model_id

    def transcribe(self, clips: Sequence[Float[np.ndarray, " _"]], sample_rate_hz: int) -> list[str]:
        """Transcribe clips, several at once; a clip's text does not depend on its neighbours."""
        features = [log_mel(clip, sample_rate_hz) for clip in clips]
        order = sorted((i for i, clip in enumerate(clips) if clip.size), key=lambda i: len(features[i]))
        texts = [""] * len(clips)
        for start in range(0, len(order), _BATCH_SIZE):
            members = order[start : start + _BATCH_SIZE]
            for index, text in zip(members, self._transcribe([features[i] for i in members]), strict=True):
                texts[index] = text
        return texts

    def _transcribe(self, features: Sequence[Float32[np.ndarray, "_ bands"]]) -> list[str]:
        frames = -(-max(len(one) for one in features) // _FRAME_STEP) * _FRAME_STEP
        log_mels = np.zeros((_BATCH_SIZE, frames, NUM_BANDS), np.float32)
        real = np.zeros((_BATCH_SIZE, frames), bool)
        for row, one in enumerate(features):
            log_mels[row, : len(one)], real[row, : len(one)] = one, True
        best = np.asarray(_best_classes(self._parameters, log_mels, real))
        steps = [-(-len(one) // network.FRAMES_PER_STEP) for one in features]
        return [self._words(best[row, :count]) for row, count in enumerate(steps)]

    def _words(self, classes: np.ndarray) -> str:
        changed = np.concatenate([[True], classes[1:] != classes[:-1]])
        return " ".join(self.words[index - 1] for index in classes[changed] if index != _BLANK)


@jax.jit
def _best_classes(parameters: network.Parameters, log_mels: jax.Array, real: jax.Array) -> jax.Array:
    return network.apply(parameters, log_mels, real).argmax(axis=-1)


def _metadata(content: bytes) -> dict[str, str]:
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size])["__metadata__"]
