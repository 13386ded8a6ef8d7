"""From what the model does to what the page shows: texts as they grow, a player from the first sound on, a status."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from audio_data import InputError
from audio_eval.demo.session import Update
from audio_eval.demo.takes import Take
from audio_eval.report.markup import Markup, tag

TAKES_PATH = "takes"
TEXTS = ("heard", "written")


def show_answer(
    work: Callable[[], Generator[Update, None, None]], take: Take, stopped: Callable[[], bool] = lambda: False
) -> Iterator[dict[str, Any]]:
    """Turns updates into changes of what is seen, and writes their sound to a take.

    A mistake that its reader can repair becomes the status; any other error is a fault and is raised.

    Args:
        work: What the model is to do.
        take: Where its sound goes; it is finished however this ends.
        stopped: Whether someone has had enough, asked between updates.

    Yields:
        New values of `heard` and `written` (texts), `live` and `status` (markup), and of `result` at last: a WAV file.
        What does not change is left out.
    """
    start, first, ending = time.monotonic(), None, "cut off at the longest length"
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
                        changes["live"] = show_player(take)
                    take.write(update.samples)
                    changes["status"] = show_status(f"{take.seconds:.1f} s of sound")
                if changes:
                    yield changes
                if update.ended or stopped():
                    ending = "it came to its end by itself" if update.ended else "stopped"
                    break
    except InputError as error:
        yield {"status": show_mistake(error)}
        return
    finally:
        take.finish()
    seconds = time.monotonic() - start
    if first is None:
        yield {"status": show_status(f"Done in {seconds:.1f} s; {ending}.")}
        return
    made = f"{take.seconds:.1f} s of sound in {seconds:.1f} s, the first after {first:.1f} s; {ending}."
    yield {"status": show_status(made), "result": take.wav()}


def show_status(text: str) -> Markup:
    """A line about the answer."""
    return tag("p", text, role="status")


def show_mistake(error: InputError) -> Markup:
    """What was wrong with the request."""
    return tag("p", error.message, role="alert")


def show_player(take: Take) -> Markup:
    """Plays a sound while it is made, and goes when it has; a browser that cannot play it shows the result alone."""
    gone = "this.parentNode.hidden = true"
    source = f"{TAKES_PATH}/{take.name}.wav"
    audio = tag("audio", controls=True, autoplay=True, src=source, onended=gone, onerror=gone)
    return tag("div", tag("p", "Playing while it is made"), audio)
