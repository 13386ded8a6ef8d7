"""The page of the demo: the input on one side, the answer of the model on the other."""

import dataclasses
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]: an extra
from gradio.components import Component  # pyright: ignore[reportMissingImports]: an extra
from gradio.themes import Base, Default  # pyright: ignore[reportMissingImports]: an extra

from audio_data import InputError
from audio_data.markup import Markup, tag
from audio_eval.demo.answering import show_answer, show_mistake
from audio_eval.demo.files import Recording, RecordingStore, SessionFiles
from audio_eval.demo.gate import require_session
from audio_eval.demo.limits import MEBIBYTE
from audio_eval.demo.session import DemoSession
from audio_eval.inference.abilities import CONTINUE, MIN_SECONDS, SPEAK, TRANSCRIBE, TRANSLATE
from audio_eval.inference.speech_model import ROUTES, Update
from audio_eval.tasks.speech_to_speech import ContinuationTask

STYLE = Path(__file__).with_name("page.css")
_TITLES = {TRANSCRIBE: "Transcribe", SPEAK: "Speak", CONTINUE: "Continue", TRANSLATE: "Translate"}
# Fonts of the reader's machine: the page sends no request to another host.
_SANS = ("ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Liberation Sans", "Arial", "sans-serif")
_MONO = ("ui-monospace", "Cascadia Mono", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")
# Waiting for a longer queue would take too long; later requests are refused with a message.
_MAX_QUEUE_SIZE = 16
# Gradio keeps what each of the last pages shows, some 50 kB.
_MAX_PAGES = 256
_MAX_GIVEN_SECONDS = 10.0


def make_theme() -> Base:
    """Gradio's plain theme in the fonts of the reader's machine."""
    theme = Default(font=list(_SANS), font_mono=list(_MONO))
    # Gradio's own gray is hard to read on its white.
    gray = {"body_text_color_subdued": "*neutral_600", "body_text_color_subdued_dark": "*neutral_300"}
    return theme.set(**gray, block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300")


def make_page(session: DemoSession, recordings: RecordingStore, files: SessionFiles) -> gr.Blocks:
    """Make the page.

    Args:
        session: Who answers.
        recordings: Store of recordings in progress; the page plays them from `recordings/NAME.wav`.
        files: Where sounds that are made are put.

    Returns:
        The page; one request is worked on at a time, others wait.
    """
    with gr.Blocks(title=f"{_name(session)} · audio-eval demo", analytics_enabled=False) as page:
        gr.HTML(_about(session), elem_classes="about")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                recording = gr.Audio(
                    label=_recording_label(session),
                    sources=["upload", "microphone"],
                    type="filepath",
                    buttons=[],
                    elem_id="recording",
                )
            with gr.Column(scale=3, min_width=300), gr.Tabs():
                for ability, title in _TITLES.items():
                    with gr.Tab(title, id=ability):
                        if reason := session.abilities[ability]:
                            gr.HTML(tag("p", f"This model cannot {ability}: {reason}."), elem_classes="lacking")
                        else:
                            _TABS[ability](DemoTab(session, recordings, files, ability), recording)
    page.queue(max_size=_MAX_QUEUE_SIZE, default_concurrency_limit=1, api_open=False)
    page.state_session_capacity = _MAX_PAGES
    # Gradio checks paths of files only then, and mounting a page does not set it; the gate checks them before.
    page.has_launched = True
    return page


def input_kinds(page: gr.Blocks) -> Mapping[int, list[type]]:
    """Return the kinds of inputs of each function of a page, see `Gate`."""
    kinds: dict[type, type] = {
        gr.Audio: Path,
        gr.Textbox: str,
        gr.Dropdown: str,
        gr.Checkbox: bool,
        gr.Number: float,
        gr.Slider: float,
    }
    return {number: [kinds[type(one)] for one in function.inputs] for number, function in page.fns.items()}


@dataclasses.dataclass(frozen=True)
class DemoTab:
    """One tab of the page: its parts, and the display of updates.

    Attributes:
        session: Who answers.
        recordings: Store of recordings in progress.
        files: Where sounds that are made are put.
        ability: What the tab is for; ids of its parts begin with it.
        listening: Pages that wait for their answer; one that stops it is taken out.
    """

    session: DemoSession
    recordings: RecordingStore
    files: SessionFiles
    ability: str
    listening: set[str] = dataclasses.field(default_factory=set)

    def seed(self) -> gr.Number:
        """Return the field of the seed, without a range: the session refuses values outside it with a message."""
        return gr.Number(
            0, label="Seed", info="Another number gives another result", precision=0, elem_id=f"{self.ability}-seed"
        )

    def run(
        self,
        work: Callable[..., Generator[Update, None, None]],
        inputs: list[Component],
        texts: Mapping[str, str],
        *,
        speaks: bool = True,
    ) -> None:
        """Add buttons, and what shows the updates of `work` when the first is clicked.

        Args:
            work: Called with the values of `inputs`.
            inputs: Parts of the page.
            texts: Labels of what shows an update's `transcript` and `written`.
            speaks: Whether updates hold sound.
        """
        with gr.Row():
            start = gr.Button(_TITLES[self.ability], variant="primary", elem_id=f"{self.ability}-start", scale=3)
            stop = gr.Button("Stop", elem_id=f"{self.ability}-stop", scale=1, min_width=80)
        outputs: dict[str, Component] = {
            name: gr.Textbox(
                label=label, interactive=False, buttons=["copy"], lines=2, elem_id=f"{self.ability}-{name}"
            )
            for name, label in texts.items()
        }
        if speaks:
            outputs["live"] = gr.HTML(elem_classes="live", elem_id=f"{self.ability}-live")
            outputs["result"] = gr.Audio(
                label="Result", interactive=False, buttons=["download"], elem_id=f"{self.ability}-result"
            )
        outputs["status"] = gr.HTML(elem_classes="status", elem_id=f"{self.ability}-status")

        def answer(request: gr.Request, *values: Any) -> Iterator[dict[Component, Any]]:
            page, session = str(request.session_hash), require_session(request)
            self.listening.add(page)
            try:
                yield dict.fromkeys(outputs.values())
                recording = self._open_recording(session)
                for changes in show_answer(lambda: work(*values), recording, lambda: page not in self.listening):
                    if "result" in changes:
                        changes |= self._keep(session, changes["result"])
                    yield {outputs[name]: value for name, value in changes.items()}
            finally:
                self.listening.discard(page)

        def end(request: gr.Request) -> None:
            self.listening.discard(str(request.session_hash))

        start.click(
            answer,
            inputs,
            list(outputs.values()),
            concurrency_limit=1,
            concurrency_id="model",
            show_progress="minimal",
            api_visibility="private",
        )
        # Not by Gradio's `cancels`, which waits for the running step and accepts no other request meanwhile.
        stop.click(end, None, None, queue=False, api_visibility="private")

    def _keep(self, session: str, sound: bytes) -> dict[str, Any]:
        """Store a sound that was made, as the new value of `result`."""
        try:
            return {"result": str(self.files.store(session, f"{self.ability}.wav", sound))}
        except InputError as error:
            return {"result": None, "status": show_mistake(error)}

    def _open_recording(self, session: str) -> Recording:
        rate_hz, limits = self.session.codec.sample_rate_hz, self.session.limits
        seconds = limits.max_seconds + limits.max_frames / self.session.codec.frame_rate_hz
        return self.recordings.open(session, rate_hz, round(seconds * rate_hz))


def _transcribe_tab(tab: DemoTab, recording: gr.Audio) -> None:
    gr.Markdown("Transcribes the recording.")
    tab.run(
        lambda path: tab.session.stream_transcript(_given(path)),
        [recording],
        {"transcript": "Transcript"},
        speaks=False,
    )


def _speak_tab(tab: DemoTab, recording: gr.Audio) -> None:
    gr.Markdown("Says a text.")
    max_characters = tab.session.limits.max_characters
    text = gr.Textbox(label="Text", lines=2, max_length=max_characters, elem_id="speak-text")
    voiced = gr.Checkbox(
        not tab.session.checkpoint.has_single_utterances,
        label="In the voice of the recording, if there is one",
        info="A model trained on documents of one utterance each says little after another: leave this out for it",
        elem_id="speak-voiced",
    )
    words = gr.Textbox(
        label="Words of the recording",
        info="Left empty, the model transcribes it first",
        max_length=max_characters,
        elem_id="speak-voice-text",
    )
    seed = tab.seed()

    def work(
        said: str, in_voice: bool, path: str | None, voice_text: str, draw: int | None
    ) -> Generator[Update, None, None]:
        voice = Path(path) if path is not None and in_voice else None
        return tab.session.stream_speech(said, voice, voice_text, seed=draw or 0)

    inputs: list[Component] = [text, voiced, recording, words, seed]
    tab.run(work, inputs, {"transcript": "Transcript of the recording"})


def _continue_tab(tab: DemoTab, recording: gr.Audio) -> None:
    gr.Markdown("Goes on from the beginning of the recording. The sound starts with what was given.")
    max_seconds = tab.session.budget.max_continued_seconds
    seconds = gr.Slider(
        MIN_SECONDS,
        round(min(_MAX_GIVEN_SECONDS, max_seconds), 1),
        value=max(MIN_SECONDS, round(min(ContinuationTask.prompt_seconds, max_seconds / 2), 1)),
        step=0.1,
        label="Seconds given",
        elem_id="continue-seconds",
    )
    seed = tab.seed()

    def work(path: str | None, given: float, draw: int | None) -> Generator[Update, None, None]:
        return tab.session.stream_continuation(_given(path), given, seed=draw or 0)

    tab.run(work, [recording, seconds, seed], {})


def _translate_tab(tab: DemoTab, recording: gr.Audio) -> None:
    gr.Markdown(
        "Says in another language what the recording says. A model that was taught no translation says something else."
    )
    with gr.Row():
        source = gr.Textbox("de", label="From", max_length=40, min_width=80, elem_id="translate-source")
        target = gr.Textbox("en", label="To", max_length=40, min_width=80, elem_id="translate-target")
        route = gr.Dropdown(
            [("through both texts", ROUTES[0]), ("directly", ROUTES[1])], value=ROUTES[0], label="Route", min_width=160
        )
    seed = tab.seed()

    def work(path: str | None, language: str, wanted: str, way: str, draw: int | None) -> Generator[Update, None, None]:
        return tab.session.stream_translation(_given(path), language, wanted, route=way, seed=draw or 0)

    texts = {"transcript": "Transcript of the recording", "written": "Translation"}
    tab.run(work, [recording, source, target, route, seed], texts)


_TABS = {TRANSCRIBE: _transcribe_tab, SPEAK: _speak_tab, CONTINUE: _continue_tab, TRANSLATE: _translate_tab}


def _given(path: str | None) -> Path:
    if path is None:
        raise InputError("`recording` must be there first, got none: record or upload speech")
    return Path(path)


def _name(session: DemoSession) -> str:
    checkpoint = session.checkpoint
    return str(checkpoint.provenance.get("run") or checkpoint.folder.name)


def _recording_label(session: DemoSession) -> str:
    limits = session.limits
    return f"Speech, up to {limits.max_seconds:g} s and {limits.max_upload_bytes / MEBIBYTE:g} MiB"


def _about(session: DemoSession) -> Markup:
    checkpoint, budget = session.checkpoint, session.budget
    facts = {
        "parameters": f"{checkpoint.model.config.num_parameters:,}",
        "codec": session.codec.codec_id,
        "context": f"{budget.context:,} tokens",
        "input": f"up to {min(budget.max_input_seconds, session.limits.max_seconds):.1f} s",
        "trained on": ", ".join(checkpoint.provenance.get("dataset_fingerprints", ())) or "not recorded",
        "weights": checkpoint.weights_sha256[:12],
    }
    able = [name for name, reason in session.abilities.items() if reason is None]
    return tag(
        "div",
        tag("h1", _name(session)),
        tag("p", f"It can {_listed(able)}, as well as it was trained for it."),
        *(tag("p", f"It cannot {name}: {reason}.") for name, reason in session.abilities.items() if reason),
        tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()]),
    )


def _listed(names: list[str]) -> str:
    if not names:
        return "do nothing here"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
