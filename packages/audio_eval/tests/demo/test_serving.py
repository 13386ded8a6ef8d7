import importlib.util
import socket
import wave

import numpy as np
import pytest
from click.testing import CliRunner

from audio_data import InputError
from audio_eval.cli import main
from audio_eval.demo import DemoSession, Limits, serve_demo
from audio_eval.demo.answering import TEXTS

GRADIO = importlib.util.find_spec("gradio") is not None
needs_gradio = pytest.mark.skipif(not GRADIO, reason="needs Gradio: `uv pip install gradio`")
PATIENCE_SECONDS = 120
WAV_HEADER_BYTES = 44


@needs_gradio
@pytest.mark.long
def test_a_click_transcribes_what_was_uploaded(address, browser, speaker, recording):
    (*_, last) = DemoSession.load(speaker, limits=Limits(max_seconds=4)).stream_transcript(recording)
    assert last.transcript
    browser.open(address)
    browser.upload("#recording input[type=file]", recording)
    browser.wait(
        "document.querySelector('#recording canvas, #recording audio, #recording #waveform')", PATIENCE_SECONDS
    )
    browser.click("#transcribe-start")
    browser.wait("document.querySelector('#transcribe-status').innerText.startsWith('Done in')", PATIENCE_SECONDS)
    assert browser.run("document.querySelector('#transcribe-transcript textarea').value") == last.transcript
    # The name of the run came from a file: it is text, and nothing else.
    assert browser.run("document.querySelector('.about h1').innerHTML") == "&lt;i&gt;toy&lt;/i&gt; ${1+1} {{2+2}}"
    asked = [request["request"]["url"] for request in browser.seen("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert [entry["entry"]["text"] for entry in browser.seen("Log.entryAdded")] == []


@needs_gradio
@pytest.mark.long
def test_speech_plays_while_it_is_made_and_mistakes_are_told(address, browser, tmp_path):
    browser.open(address, width=400, height=800)
    browser.click("#transcribe-start")
    told = "document.querySelector('#transcribe-status [role=alert]')?.innerText"
    assert "got none: record or upload speech" in browser.wait(told, PATIENCE_SECONDS)
    with wave.open(str(tmp_path / "long.wav"), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 8_000 * 5))
    browser.upload("#recording input[type=file]", tmp_path / "long.wav")
    browser.wait("document.querySelector('#recording button[aria-label=Clear]')", PATIENCE_SECONDS)
    browser.click("#transcribe-start")
    browser.wait(f"{told}.includes('must be at most 4 s long, got 5.0 s')", PATIENCE_SECONDS)
    open_tab(browser, "Speak")
    browser.click("#speak-voiced input")
    browser.type("#speak-text textarea", "the red cat")
    # A player that has played is hidden, so that the sound was played from beginning to end.
    browser.click("#speak-start")
    browser.wait("document.querySelector('#speak-live div[hidden] audio')?.ended", PATIENCE_SECONDS)
    browser.wait("document.querySelector('#speak-status').innerText.includes('the first after')", PATIENCE_SECONDS)
    seconds = browser.run("document.querySelector('#speak-live audio').currentTime")
    assert f"{seconds:.1f} s of sound" in browser.run("document.querySelector('#speak-status').innerText")
    assert browser.run("document.documentElement.scrollWidth") <= 400


def open_tab(browser, title):
    browser.run(
        f"[...document.querySelectorAll('button[role=tab]')].find(tab => tab.innerText == '{title}').id = 'to-tab'"
    )
    browser.click("#to-tab")


@pytest.mark.slow
@needs_gradio
def test_a_click_translates_what_was_uploaded(address, browser, speaker, recording):
    browser.open(address)
    browser.upload("#recording input[type=file]", recording)
    browser.wait("document.querySelector('#recording button[aria-label=Clear]')", PATIENCE_SECONDS)
    open_tab(browser, "Translate")
    browser.type("#translate-target textarea, #translate-target input", "fr")
    browser.type("#translate-seed input", str(2**32))
    browser.click("#translate-start")
    told = "document.querySelector('#translate-status [role=alert]')?.innerText"
    assert "must lie in [0, 4294967296), got 4294967296" in browser.wait(told, PATIENCE_SECONDS)
    browser.type("#translate-seed input", "7")
    browser.click("#translate-start")
    # While the page works on it, so that the two take the time of one.
    session = DemoSession.load(speaker, limits=Limits(max_seconds=4))
    updates = list(session.stream_translation(recording, "de", "fr", route="chain", seed=7))
    texts = {name: [text for one in updates if (text := getattr(one, name)) is not None][-1] for name in TEXTS}
    assert all(texts.values())
    browser.wait("document.querySelector('#translate-status').innerText.includes('the first after')", PATIENCE_SECONDS)
    shown = {name: browser.run(f"document.querySelector('#translate-{name} textarea').value") for name in TEXTS}
    assert shown == texts
    fetch = "fetch(document.querySelector('#translate-live audio').src).then(answer => answer.arrayBuffer())"
    played = browser.run(f"{fetch}.then(sound => [...new Uint8Array(sound)])")
    sound = np.frombuffer(bytes(played)[WAV_HEADER_BYTES:], "<i2")
    expected = np.concatenate([one.samples for one in updates])
    np.testing.assert_array_equal(sound, (expected.clip(-1, 1) * 32_767).round())


def test_without_gradio_the_way_to_get_it_is_told(monkeypatch, speaker):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"got none: `uv pip install 'gradio>=6"):
        serve_demo(speaker)


@needs_gradio
@pytest.mark.parametrize("what", ["port", "checkpoint"])
def test_a_mistake_at_the_start_is_one_line(tmp_path, what):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if what == "port" else 0
        failed = CliRunner().invoke(main, ["demo", str(tmp_path), "--port", str(port)])
    assert failed.exit_code == 2
    expected = "must be free to listen on" if what == "port" else "must be an exported model"
    assert expected in failed.stderr
