"""A WavLM speaker-verification model as a speaker encoder, run by transformers on the CPU, where it is installed."""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from audio_data import HubRepository, InputError, install_command, is_hub_id
from audio_eval.speech_models.base import SpeakerEncoder, Unavailable, damaged_settings
from audio_tokenize import resample

WAVLM_RATE_HZ = 16_000
DEFAULT_MODEL = "microsoft/wavlm-base-plus-sv"
_SHORTEST_CLIP_SECONDS = 0.5


class WavLmSpeaker:
    """x-vectors of a `WavLMForXVector` model.

    Attributes:
        model_id: Kind, model name and the first twelve digits of the SHA-256 of its weights.
    """

    def __init__(self, folder: Path, name: str):
        """Load the model.

        Args:
            folder: Folder with `config.json` and safetensors weights, as `save_pretrained` writes them.
            name: How the model is called in scores.

        Raises:
            ValueError: Weights are missing.
        """
        from transformers import WavLMForXVector  # pyright: ignore[reportMissingImports]: an extra

        model, found = WavLMForXVector.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )  # pyright: ignore[reportGeneralTypeIssues]: a pair, with the loading's information asked for
        # transformers initialises missing weights at random, such as the speaker head of a plain WavLM.
        if missing := sorted(found["missing_keys"]):
            raise ValueError(f"no weights for {missing[0]} and {len(missing) - 1} more")
        self._model = model.eval()
        digest = hashlib.sha256()
        for file in sorted(folder.glob("*.safetensors")):
            digest.update(file.read_bytes())
        self.model_id = f"wavlm:{name}:{digest.hexdigest()[:12]}"

    def embed(self, clips: Sequence[Float[np.ndarray, " _"]], sample_rate_hz: int) -> list[Float32[np.ndarray, " dim"]]:
        """Return a vector of the voice of each clip, each on its own; one of no samples has a vector of zeros."""
        return [self._embed(clip, sample_rate_hz) for clip in clips]

    def _embed(self, clip: Float[np.ndarray, " _"], sample_rate_hz: int) -> Float32[np.ndarray, " dim"]:
        import torch  # pyright: ignore[reportMissingImports]: an extra

        if not clip.size:
            return np.zeros(self._model.config.xvector_output_dim, np.float32)
        samples = resample(clip.astype(np.float32), sample_rate_hz, WAVLM_RATE_HZ)
        samples = np.pad(samples, (0, max(0, int(_SHORTEST_CLIP_SECONDS * WAVLM_RATE_HZ) - samples.size)))
        # Zero mean and unit variance, as the model's feature extractor has it.
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        with torch.no_grad():
            return self._model(torch.from_numpy(samples)[None]).embeddings[0].numpy()


def find_wavlm(model: str = DEFAULT_MODEL) -> SpeakerEncoder | Unavailable:
    """Find a WavLM speaker model.

    Args:
        model: Folder, or hub id, downloaded where it is not cached.

    Returns:
        The speaker encoder, or the reason why there is none and how to get one.
    """
    if any(importlib.util.find_spec(package) is None for package in ("transformers", "torch")):
        return Unavailable(
            f"the speaker encoder `wavlm` is not installed: `{install_command('torch', 'transformers')}`"
        )
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
            return Unavailable(f"`{path}` holds no config.json with safetensors: give a folder of a WavLMForXVector")
        return _load(path, path.resolve().name)
    if not is_hub_id(model):
        return Unavailable(
            f"speaker model {model!r} must be a local folder or a hub id OWNER/NAME; there is no such folder"
        )
    repository = HubRepository(model, f"speaker model {model!r}", "give DIR as the model: `wavlm:DIR`")
    try:
        folder = repository.fetch_files("*.json", "*.safetensors")
    except InputError as error:
        return Unavailable(error.message)
    return _load(folder, model)


def _load(folder: Path, name: str) -> SpeakerEncoder | Unavailable:
    from huggingface_hub.errors import StrictDataclassError  # pyright: ignore[reportMissingImports]: an extra
    from safetensors import SafetensorError

    # transformers raises errors of many types for a configuration of other types or sizes.
    of_types = (TypeError, AttributeError, LookupError, ArithmeticError, StrictDataclassError)
    summary = damaged_settings(folder)
    try:
        if summary is None:
            return WavLmSpeaker(folder, name)
    except (SafetensorError, OSError, RuntimeError, ValueError, *of_types) as error:
        summary = (str(error).strip() or type(error).__name__).splitlines()[0]
    return Unavailable(f"`{folder}` holds no WavLMForXVector that transformers reads ({summary}): fetch it again")
