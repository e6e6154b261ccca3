"""Whether the Hub answers, against servers of this machine: one that does, one that waits, none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import datasets
import pytest
from huggingface_hub import constants

from harness.data import hub


class _Answers(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def server() -> Iterator[int]:
    """A port where any answer is given."""
    with HTTPServer(("127.0.0.1", 0), _Answers) as made:
        thread = Thread(target=made.serve_forever, daemon=True)
        thread.start()
        try:
            yield made.server_port
        finally:
            made.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_any_answer_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with server() as port:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        assert hub.unreachable() is None
    said = hub.unreachable()
    assert said is not None
    assert "refused" in said


def test_no_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub, "SECONDS", 0.2)
        said = hub.unreachable()
    assert said is not None
    assert "time" in said or "no answer in 0.2 s" in said


def test_a_user_who_works_offline_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = hub.unreachable()
    assert said is not None
    assert "HF_HUB_OFFLINE" in said


@pytest.mark.parametrize("alone", [True, False])
def test_caches_alone_ends(alone: bool) -> None:
    def now() -> tuple[bool, bool]:
        return constants.is_offline_mode(), datasets.config.HF_HUB_OFFLINE

    before = now()
    with hub.caches_alone(alone):
        assert now() == ((True, True) if alone else before)
    assert now() == before
