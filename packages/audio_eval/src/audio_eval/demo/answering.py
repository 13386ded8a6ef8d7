"""Updates of the model as changes of the page: growing texts, a player from the first sound on, a status."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from audio_data import InputError
from audio_data.markup import Markup, tag
from audio_eval.demo.files import Recording
from audio_eval.inference import Update

RECORDINGS_PATH = "recordings"
TEXTS = ("transcript", "written")


def show_answer(
    work: Callable[[], Generator[Update, None, None]], recording: Recording, stopped: Callable[[], bool] = lambda: False
) -> Iterator[dict[str, Any]]:
    """Turn updates into changes of the page, and write their sound to a recording.

    A mistake that its reader can repair becomes the status; any other error is a fault and is raised.

    Args:
        work: What the model is to do.
        recording: Receives the sound; it is finished however this ends.
        stopped: Whether the user has stopped it, called between updates.

    Yields:
        New values of `transcript` and `written` (texts), `live` and `status` (markup), and at last of `result`, a WAV
        file. What does not change is left out.
    """
    start, first, ending = time.monotonic(), None, "cut off at the longest length"
    shown: dict[str, str] = {}
    yield {"status": show_status("Working. The first answer of each length takes some seconds more.")}
    try:
        with contextlib.closing(work()) as updates:
            for update in updates:
                changes: dict[str, Any] = {
                    name: value for name in TEXTS if (value := getattr(update, name)) is not None
                }
                if update.samples.size:
                    if first is None:
                        first = time.monotonic() - start
                        changes["live"] = show_player(recording)
                    recording.write(update.samples)
                    changes["status"] = show_status(f"{recording.seconds:.1f} s of sound")
                shown |= {name: changes[name] for name in TEXTS if name in changes}
                if changes:
                    yield changes
                if update.ended or stopped():
                    ending = "it came to its end by itself" if update.ended else "stopped"
                    break
    except InputError as error:
        yield {"status": show_mistake(error)}
        return
    finally:
        recording.finish()
    seconds = time.monotonic() - start
    if first is None:
        empty = "" if any(shown.values()) else " The answer is empty: the model found no words."
        yield {"status": show_status(f"Done in {seconds:.1f} s; {ending}.{empty}")}
        return
    made = f"{recording.seconds:.1f} s of sound in {seconds:.1f} s, the first after {first:.1f} s; {ending}."
    yield {"status": show_status(made), "result": recording.wav()}


def show_status(text: str) -> Markup:
    """Return a line about the answer."""
    return tag("p", text, role="status")


def show_mistake(error: InputError) -> Markup:
    """Return the error of a request."""
    return tag("p", error.message, role="alert")


def show_player(recording: Recording) -> Markup:
    """Return a player of a sound in progress, hidden at its end; browsers that cannot play it show the result alone."""
    gone = "this.parentNode.hidden = true"
    source = f"{RECORDINGS_PATH}/{recording.name}.wav"
    audio = tag("audio", controls=True, autoplay=True, src=source, onended=gone, onerror=gone)
    return tag("div", tag("p", "Playing while it is made"), audio)
