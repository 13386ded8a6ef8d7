import base64
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

from audio_eval.demo import DemoSession, Limits

RATE_HZ = 24_000
COMMAND = "from audio_eval.cli import main; main()"
PATIENCE_SECONDS = 120
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
# Chromium reads commands from descriptor 3 and writes answers to 4.
_LAUNCH = "import os, sys; a = sys.argv; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); os.execv(a[3], a[3:])"
_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
_FLAGS += ["--disable-component-update", "--disable-sync", "--no-first-run", "--remote-debugging-pipe"]
# Without asking anyone, so that a test can record.
_FLAGS += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


class Browser:
    """A page in headless Chromium, driven through its debugging pipe: real clicks, real files, what is really shown."""

    def __init__(self, profile, *flags):
        commands_in, self._commands = os.pipe()
        self._answers, answers_out = os.pipe()
        descriptors = (commands_in, answers_out)
        launch = [sys.executable, "-c", _LAUNCH, *map(str, descriptors), CHROMIUM, *_FLAGS, *flags]
        self._process = subprocess.Popen(
            [*launch, f"--user-data-dir={profile}"], pass_fds=descriptors, stderr=subprocess.DEVNULL
        )
        for descriptor in descriptors:
            os.close(descriptor)
        self._buffer, self._last, self._session = b"", 0, None
        self.events = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        """Gives a command and returns its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 30
        while True:
            for answer in self._read(deadline):
                if answer.get("id") == self._last:
                    assert "error" not in answer, answer
                    return answer["result"]

    def _read(self, deadline):
        assert select.select([self._answers], [], [], max(0, deadline - time.monotonic()))[0], "Chromium is silent"
        self._buffer += os.read(self._answers, 2**20)
        *messages, self._buffer = self._buffer.split(b"\0")
        messages = [json.loads(message) for message in messages]
        self.events += [message for message in messages if "method" in message]
        return messages

    def open(self, address, width=1280, height=900):
        """Shows a page in a window of that many pixels."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.send("Page.navigate", url=address)

    def run(self, expression):
        """Returns the value of an expression of JavaScript on the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression, seconds=60):
        """Waits until an expression is true, and returns its value; an element that is there counts as true."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(f"(found => found instanceof Node || found)({expression})")):
            assert time.monotonic() < deadline, f"{expression} never came true: {self.run('document.body.innerText')}"
            time.sleep(0.1)
        return value

    def click(self, selector):
        """Clicks with the mouse in the middle of an element, once it is there and can be seen."""
        place = f"""(() => {{
            const element = [...document.querySelectorAll({json.dumps(selector)})].find(e => e.offsetParent);
            if (!element) return null;
            element.scrollIntoView({{block: "center", behavior: "instant"}});
            const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
        x, y = self.wait(place)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector, text):
        """Types into a field, in place of what is there."""
        self.click(selector)
        self.run("document.activeElement.select()")
        self.send("Input.insertText", text=text)

    def upload(self, selector, path):
        """Gives a file to a file input."""
        self.wait(f"!!document.querySelector({json.dumps(selector)})")
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path):
        """Writes what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def seen(self, method):
        """Parameters of the events of that name so far."""
        return [event["params"] for event in self.events if event["method"] == method]

    def close(self):
        """Ends Chromium."""
        self._session = None
        self.send("Browser.close")
        self._process.wait(timeout=20)
        os.close(self._commands)
        os.close(self._answers)


@pytest.fixture(scope="session")
def session(speaker):
    # Answers of a second: what a longer one costs is compilation and time.
    return DemoSession.load(speaker, limits=Limits(max_frames=12, max_text_tokens=16))


@pytest.fixture
def browser(tmp_path):
    if CHROMIUM is None:
        pytest.skip("needs Chromium: install it with `apt-get install chromium`")
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


class Server:
    """The demo in a process of its own, as people start it or as a program does."""

    def __init__(self, folder, program, *arguments):
        # A file: a hostile client can make a server complain more than a pipe holds.
        self.folder, self._complaints = folder, folder.with_name(f"{folder.name}-complaints")
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder)}
        command = [sys.executable, "-c", program, *map(str, arguments)]
        with self._complaints.open("w") as complaints:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment
            )
        line = self._process.stdout.readline()
        found = re.fullmatch(r"Open (http://127\.0\.0\.1:\d+/) in a browser; Ctrl-C ends it\.\n", line)
        assert found, line + self.complaints()
        self.address = found[1]

    def complaints(self):
        """What it has written to standard error."""
        return self._complaints.read_text()

    def end(self, number):
        """Sends a signal, and returns the exit status and what is said at the end."""
        self._process.send_signal(number)
        said, _ = self._process.communicate(timeout=PATIENCE_SECONDS)
        return self._process.returncode, said

    def close(self):
        """Ends it if it has not ended."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="session")
def start_server():
    """Starts a server that the caller closes."""
    return Server


@pytest.fixture(scope="module")
def server(speaker, tmp_path_factory):
    """A server by the command that people type, ended by an interrupt."""
    server = Server(tmp_path_factory.mktemp("server"), COMMAND, "demo", speaker, "--port", "0", "--max-seconds", "4")
    yield server
    status, said = server.end(signal.SIGINT)
    complaints = server.complaints()
    server.close()
    assert (status, said) == (0, "The demo has ended; what was recorded and made there is gone.\n")
    assert "Traceback" not in complaints, complaints
    assert list(server.folder.iterdir()) == []


@pytest.fixture(scope="module")
def address(server):
    """Where the page is served."""
    return server.address
