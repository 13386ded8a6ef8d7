"""Audio samples of a model in training: it speaks the texts of held-out documents, or continues their audio."""

from collections.abc import Generator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audio_data import TokenDataset
from audio_eval.heldout import check_vocabulary
from audio_eval.inference.abilities import CONTINUE, SPEAK
from audio_eval.inference.speech_model import SpeechModel
from audio_tokenize import Segment, layout

Sample = tuple[str, str, Float32[np.ndarray, " samples"], int]
"""Name, caption, mono samples in -1..1, and their rate in Hz."""


def training_samples(folder: Path, datasets: Mapping[str, TokenDataset], count: int) -> Generator[Sample, None, None]:
    """Generate audio with an exported model; `audio-train run --track-audio` logs it.

    The samples of every checkpoint have the same texts, recordings and seeds, so they can be compared.

    Args:
        folder: Folder of the model.
        datasets: Held-out datasets, by name; their first documents are taken.
        count: Number of samples, at most.

    Yields:
        The samples.

    Raises:
        InputError: The model cannot be used, its codec is not available, or a dataset has another vocabulary.
    """
    model = SpeechModel.load(folder)
    text = model.checkpoint.text
    for number, (name, segment) in zip(range(count), _segments(datasets, model), strict=False):
        if segment.text_ids.size and model.abilities[SPEAK] is None:
            said = text.decode(segment.text_ids.tolist())
            speech, caption = model.speak(said, seed=number), f"speaks: {said}"
        elif model.abilities[CONTINUE] is None:
            given = np.asarray(model.codec.decode(segment.codes), np.float32)
            speech, caption = model.continue_speech(given, seed=number), f"continues a recording of {name}"
        else:
            continue
        yield f"{name}/{number}", caption, speech.samples, speech.sample_rate_hz


def _segments(datasets: Mapping[str, TokenDataset], model: SpeechModel) -> Generator[tuple[str, Segment], None, None]:
    """Yield the first utterance of each document that has audio, with the name of its dataset."""
    vocabulary = model.checkpoint.vocabulary
    for name, dataset in datasets.items():
        check_vocabulary(name, dataset, vocabulary)
        for index in range(len(dataset)):
            document = dataset[index]
            order = layout(str(document.metadata.get("layout", "audio_first")))
            segment = next((one for one in order.parse(document.ids, vocabulary) if one.codes.size), None)
            if segment is not None:
                yield name, segment
