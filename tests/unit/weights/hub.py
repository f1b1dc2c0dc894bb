"""A model hub small enough for a test: the two routes of the real API that the real client asks."""

import hashlib
import json
import os
import socket
import struct
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PART_BYTES = 1000
REFUSALS = {
    "gated": (403, "GatedRepo"),
    "gated-and-unknown-caller": (401, "GatedRepo"),
    "hidden": (401, "RepoNotFound"),
}


class SmallHub:
    """Serves `files` of org/name at main. The first `cuts` downloads of the weights end after a part of them, by an
    orderly close or by a reset.

    Until `flowing` is set, a download of the weights stops after a part and the connection stays open.
    """

    def __init__(self, files: dict[str, bytes], cuts: int = 0, *, reset: bool = False) -> None:
        self.files = files
        self.requests: Counter[str] = Counter()
        self.flowing = threading.Event()
        self.flowing.set()
        self.stalled = threading.Event()
        self._cuts = cuts
        self._reset = reset
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that was killed is no error here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.flowing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = handler.path.partition("?")[0]
        if path.startswith("/api/models/org/name/revision/") and not path.endswith("/main"):
            self._send(handler, 404, b"{}", {"x-error-code": "RevisionNotFound"}, body)
            return
        if path.startswith("/api/models/org/name"):
            siblings = [{"rfilename": name} for name in self.files]
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": digest(data)}
                for name, data in self.files.items()
            ]
            document = tree if "/tree/" in path else {"id": "org/name", "sha": COMMIT, "siblings": siblings}
            self._send(handler, 200, json.dumps(document).encode(), {"content-type": "application/json"}, body)
            return
        name = path.rpartition("/")[2]
        if path.startswith("/org/name/resolve/") and name in self.files:
            self._file(handler, name, body)
            return
        status, code = next(
            (answer for word, answer in REFUSALS.items() if f"/org/{word}/" in path), (404, "RepoNotFound")
        )
        self._send(handler, status, b"{}", {"x-error-code": code}, body)

    def _file(self, handler: BaseHTTPRequestHandler, name: str, body: bool) -> None:
        data = self.files[name]
        headers = {"etag": f'"{digest(data)}"', "x-repo-commit": COMMIT, "accept-ranges": "bytes"}
        if not body:
            self._send(handler, 200, data, headers, body=False)
            return
        self.requests[name] += 1
        start = int(handler.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        status = 206 if start else 200
        if start:
            headers["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if not name.endswith(".safetensors") or (self.flowing.is_set() and not self._cuts):
            self._send(handler, status, data[start:], headers, body)
            return
        part = data[start : start + PART_BYTES]
        self._send(handler, status, part, {**headers, "content-length": str(len(data) - start)}, body)
        if self._cuts:
            self._cuts -= 1
            if self._reset:
                reset(handler)
        else:
            self.stalled.set()
            self.flowing.wait()

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str], body: bool
    ) -> None:
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        if "content-length" not in headers:
            handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        if body:
            handler.wfile.write(data)
            handler.wfile.flush()


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())


def digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
