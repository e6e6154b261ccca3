"""Whether the Hub answers, against servers of this machine: one that does, one that waits, none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from harness.data import hub
from harness.data.datasets import load_documents, load_images
from harness.data.pixels.prepared_images import prepare_images
from harness.errors import HarnessError


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


def test_a_split_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `datasets` finds them, here in a folder of its kind."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        path = tmp_path / "set" / f"{split}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"text": ["a word"], "image": [b"none"]}), path)
    said = r"no such split\n  given: 'validation'\n  allowed: train, test\n  write `split: test`"
    with pytest.raises(HarnessError, match=said):
        load_documents("hub:./set#text", "validation")
    with pytest.raises(HarnessError, match=said):
        load_images("hub:./set#image?size=8", "validation", cache=tmp_path / "c")


def test_classes_that_are_texts_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"kind": ["cat"], "image": [b"none"]}), tmp_path / "set/train.parquet")
    with pytest.raises(HarnessError, match=r"kind: 'cat'(.|\n)*ClassLabel"):
        load_images("hub:./set#image?size=8&label=kind", "train", cache=tmp_path / "c")


def test_a_hub_that_does_not_answer_is_not_asked_for_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "unreachable", lambda: "no route")
    said = r"not in the Hub's cache, and the Hub does not answer: no route(.|\n)*file:PATH/\*"
    with pytest.raises(HarnessError, match=said):
        load_documents("hub:nobody-has/this-set#text", "train")
    with pytest.raises(HarnessError, match=said):
        prepare_images("hub:nobody-has/this-set#i?size=8", "train", cache=tmp_path / "c")
