"""A model hub small enough for a test: the two routes of the real API that the real client asks."""

import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class SmallHub:
    """Serves `files` of org/name at any revision. `cut_after_bytes` breaks the first download of a large file."""

    def __init__(self, files: dict[str, bytes], cut_after_bytes: int | None = None) -> None:
        self.files = files
        self.requests: Counter[str] = Counter()
        self._cut = cut_after_bytes
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()

    def answer(self, handler: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = handler.path.partition("?")[0]
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
        code = {"gated": "GatedRepo"}.get(path.split("/")[-1], "RepoNotFound") if "gated" in path else "RepoNotFound"
        status = 403 if "gated" in path else 404
        self._send(handler, status, b"{}", {"x-error-code": "GatedRepo" if status == 403 else code}, body)

    def _file(self, handler: BaseHTTPRequestHandler, name: str, body: bool) -> None:
        data = self.files[name]
        headers = {"etag": f'"{digest(data)}"', "x-repo-commit": COMMIT, "accept-ranges": "bytes"}
        if not body:
            self._send(handler, 200, data, headers, body=False)
            return
        self.requests[name] += 1
        start = int(handler.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        status = 206 if start else 200
        if self._cut is not None and name.endswith(".safetensors"):
            cut, self._cut = self._cut, None
            handler.send_response(200)
            handler.send_header("content-length", str(len(data)))
            for key, value in headers.items():
                handler.send_header(key, value)
            handler.end_headers()
            handler.wfile.write(data[:cut])
            handler.wfile.flush()
            handler.connection.close()
            return
        if start:
            headers["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(handler, status, data[start:], headers, body)

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str], body: bool
    ) -> None:
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        if body:
            handler.wfile.write(data)


def digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
