"""Helm's record of a release is a Secret, which its client posts as protobuf: `k8s\\0` and a `runtime.Unknown`."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

METADATA, DATA, TYPE = 1, 2, 3
NAMED = {1: "name", 3: "namespace", 5: "uid", 6: "resourceVersion"}
LABELS = 11


def secret_in(body: bytes) -> dict[str, Any]:
    raw = dict(_fields(body[4:]))[2]
    secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {}}
    data: list[bytes] = []
    for number, value in _fields(raw):
        if number == METADATA:
            fields = list(_fields(value))
            secret["metadata"] = {NAMED[n]: v.decode() for n, v in fields if n in NAMED and v}
            secret["metadata"]["labels"] = _map([v for n, v in fields if n == LABELS], bytes.decode)
        elif number == DATA:
            data.append(value)
        elif number == TYPE and value:
            secret["type"] = value.decode()
    secret["data"] = _map(data, lambda value: base64.b64encode(value).decode())
    return secret


def _map(entries: list[bytes], converted: Callable[[bytes], str]) -> dict[str, str]:
    pairs = [dict(_fields(entry)) for entry in entries]
    return {pair.get(1, b"").decode(): converted(pair.get(2, b"")) for pair in pairs}


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        value, at = _number(message, at)
        if tag & 7 == 2:
            yield tag >> 3, message[at : at + value]
            at += value
        else:
            yield tag >> 3, value


def _number(message: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = message[at]
        at += 1
        result |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return result, at
