import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from audio_eval.demo.ending import ended_by_signals

needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="needs Gradio: `uv pip install gradio`"
)
# A server whose handlers never end: in a worker thread, in the thread of the event loop, or by waiting for more.
PROGRAM = """
import asyncio, pathlib, shutil, socket, sys, time
import fastapi
from audio_eval.demo.ending import ended_by_signals, run_server

app = fastapi.FastAPI()
folder = pathlib.Path(sys.argv[1])

@app.get("/worker")
def worker():
    time.sleep(1_000_000)

@app.get("/loop")
async def loop():
    time.sleep(1_000_000)

@app.get("/slow")
async def slow():
    await asyncio.sleep(0.6)
    return "slow"

@app.get("/pipe")
async def pipe():
    open(folder / "fifo").read()

@app.post("/upload")
async def upload(request: fastapi.Request):
    await request.body()

with socket.create_server(("127.0.0.1", 0)) as listener:
    with ended_by_signals(0.5, lambda: shutil.rmtree(folder)):
        print(listener.getsockname()[1], flush=True)
        try:
            run_server(app, listener, header_seconds=float(sys.argv[2]))
        except KeyboardInterrupt:
            pass
    shutil.rmtree(folder, ignore_errors=True)
"""
PATIENCE_SECONDS = 120
REQUESTS = {
    "nothing": b"",
    "worker": b"GET /worker HTTP/1.1\r\nHost: x\r\n\r\n",
    "loop": b"GET /loop HTTP/1.1\r\nHost: x\r\n\r\n",
    "pipe": b"GET /pipe HTTP/1.1\r\nHost: x\r\n\r\n",
    "upload": b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
    "headers": b"GET / HTTP/1.1\r\nHost",
}


def start(folder, header_seconds: float = 1_000):
    command = [sys.executable, "-c", PROGRAM, str(folder), str(header_seconds)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return server, int(server.stdout.readline())


def receive_until(client, end):
    received = b""
    while not received.endswith(end):
        more = client.recv(1_000)
        assert more, received
        received += more


@needs_gradio
def test_a_connection_on_which_no_request_comes_is_closed(tmp_path):
    server, port = start(tmp_path, header_seconds=0.2)
    try:
        for sent in (b"", b"GET / HTTP/1.1\r\nHost"):
            with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client:
                client.sendall(sent)
                assert client.recv(100) == b""
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client:
            client.sendall(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
            receive_until(client, b'{"detail":"Not Found"}')
            client.sendall(b"GET /none HTTP/1.1\r\nHost")
            assert client.recv(100) == b""
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            receive_until(client, b'"slow"')
    finally:
        server.kill()
        server.communicate()


@needs_gradio
@pytest.mark.parametrize(
    ("request_that_hangs", "number"),
    [*((name, signal.SIGTERM) for name in REQUESTS), ("nothing", signal.SIGINT), ("worker", signal.SIGINT)],
)
def test_a_signal_ends_the_server_whatever_hangs(tmp_path, request_that_hangs, number):
    folder = tmp_path / "files"
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    server, port = start(folder)
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client:
            # Answered, so that the server has its signal handlers.
            with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as first:
                first.sendall(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
                assert first.recv(100).startswith(b"HTTP/1.1 404")
            client.sendall(REQUESTS[request_that_hangs])
            if request_that_hangs in ("loop", "pipe"):
                with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as other:
                    other.settimeout(0.2)
                    other.sendall(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
                    with pytest.raises(TimeoutError):
                        other.recv(100)
            server.send_signal(number)
            assert server.wait(PATIENCE_SECONDS) == 0
        assert not folder.exists()
    finally:
        server.kill()
        server.communicate()


def test_what_goes_on_after_the_block_is_left_alone():
    program = """
import os, signal, time
from audio_eval.demo.ending import ended_by_signals
try:
    with ended_by_signals(0.1, lambda: print("cleaned up")):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1_000_000)
except KeyboardInterrupt:
    time.sleep(0.5)
    print("went on", flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert (ended.stdout, ended.returncode) == ("went on\n", -signal.SIGTERM)


def test_without_a_signal_nothing_is_left_behind():
    handlers, threads = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)], threading.active_count()
    with ended_by_signals(0.1, lambda: pytest.fail("there was no signal")):
        watcher = next(one for one in threading.enumerate() if one.name == "ended-by-signals")
    watcher.join(PATIENCE_SECONDS)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert threading.active_count() == threads
    assert signal.set_wakeup_fd(-1) == -1
