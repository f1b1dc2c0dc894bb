"""Where a request is looked through: beside the loop, unless it is small."""

import threading
from typing import Any

import pytest

from deployments.gateway.privacy.detection import Detector
from deployments.gateway.privacy.found import Found
from deployments.gateway.privacy.redactor import LARGE_BYTES, SMALL_BYTES, Redactor


class Watched(Detector):
    threads: set[str]

    def find(self, text: str) -> list[Found]:
        self.threads.add(threading.current_thread().name)
        return []


@pytest.mark.parametrize(
    ("size_bytes", "thread"),
    [
        (SMALL_BYTES, threading.main_thread().name),
        (SMALL_BYTES + 1, "redaction_0"),
        (LARGE_BYTES, "redaction_0"),
        (LARGE_BYTES + 1, "redaction-large_0"),
    ],
)
async def test_others_go_on_while_a_request_is_looked_through(
    size_bytes: int, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watched, "threads", set(), raising=False)
    document: dict[str, Any] = {"prompt": "1" * size_bytes}
    await Redactor(Watched()).redact(document, "restore", size_bytes)
    assert Watched.threads == {thread}
