"""Clients that stream answers one after another, and count which came whole."""

import json
import threading
from collections import Counter
from typing import Any

import httpx


class Streams:
    """Use as a context manager: each client ends after its stream. `at_most`: streams of a client; 0: no bound."""

    def __init__(
        self, url: str, model: str, headers: dict[str, str], *, tokens: int, clients: int, at_most: int = 0
    ) -> None:
        self._url = url
        self._body: dict[str, Any] = {"model": model, "prompt": "Once upon a time", "max_tokens": tokens}
        self._body |= {"stream": True, "ignore_eos": True}
        self._headers = headers
        self._at_most = at_most
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]
        self.tokens = 0
        self.whole = 0
        self.failures: Counter[str] = Counter()

    def __enter__(self) -> "Streams":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()

    def go_to(self, url: str) -> None:
        """Of streams that begin from now on."""
        self._url = url

    def join(self) -> None:
        for thread in self._threads:
            thread.join(300)

    def _client(self) -> None:
        number = 0
        while not self._is_over.is_set() and not (self._at_most and number >= self._at_most):
            number += 1
            outcome = self._one()
            with self._lock:
                if outcome == "whole":
                    self.whole += 1
                else:
                    self.failures[outcome] += 1

    def _one(self) -> str:
        finished = False
        try:
            with httpx.stream(
                "POST", f"{self._url}/v1/completions", json=self._body, headers=self._headers, timeout=120
            ) as answer:
                if answer.status_code != 200:
                    return f"{answer.status_code}: {answer.read()[:200]!r}"
                for line in answer.iter_lines():
                    if line == "data: [DONE]":
                        return "whole" if finished else "done without an end"
                    if line.startswith("data: "):
                        self.tokens += 1
                        choice = json.loads(line[6:]).get("choices") or [{}]
                        finished = finished or choice[0].get("finish_reason") == "length"
        except httpx.HTTPError as error:
            return repr(error)
        return "cut"
