"""The console's files, read once; whatever is not among them does not exist."""

from dataclasses import dataclass
from pathlib import Path

from deployments.gateway.recipient import Headers

FOLDER = Path(__file__).parent / "console"
TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
PAGE = b"/"
POLICY = b"; ".join(
    (
        b"default-src 'none'",
        b"script-src 'self'",
        b"style-src 'self'",
        b"img-src 'self'",
        b"connect-src 'self'",
        b"base-uri 'none'",
        b"form-action 'none'",
        b"frame-ancestors 'none'",
    )
)
SAFE: Headers = [
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


@dataclass(frozen=True, slots=True)
class File:
    content_type: bytes
    content: bytes


def console_files(folder: Path = FOLDER) -> dict[bytes, File]:
    """By path."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in TYPES:
            name = PAGE if path.name == "index.html" else b"/" + path.name.encode()
            files[name] = File(TYPES[path.suffix], path.read_bytes())
    return files
