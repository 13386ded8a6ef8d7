"""The web demo: speak to a checkpoint in a browser, on this machine, and hear what it makes of it."""

from audio_eval.demo.limits import Limits
from audio_eval.demo.serving import serve_demo
from audio_eval.demo.session import DemoSession, Update, open_session

__all__ = ["DemoSession", "Limits", "Update", "open_session", "serve_demo"]
