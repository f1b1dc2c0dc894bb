"""What each model was asked for over time, in one SQLite file: counts and sampled lengths, no prompt and no client.

A row says what came in the seconds from its begin on. Silence is a row too, one for all of it up to an hour, so that
time without a row is time in which nothing was recorded. About 1.1 MB a day of a busy model told every ten seconds
with 16 samples, nothing to speak of for a silent one.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.sqlite_file import FileKind, set_aside

logger = logging.getLogger(__name__)

KEEP_DAYS = 35.0
DAY_S = 86_400.0
SAMPLES_KEPT = 16
SILENCE_S = 3_600.0
SEAM_S = 0.5
PAGE_ROWS = 4_096

_SCHEMA = """
CREATE TABLE IF NOT EXISTS model (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS bin (
    model INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    length_ms INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    sampled BLOB NOT NULL,
    PRIMARY KEY (model, at_ms)
) WITHOUT ROWID;
"""

Sampled = Sequence[tuple[int, int, int]]


class UsageLogError(Exception):
    """The file is no usage log, or cannot be read or written; the message has the file and why."""


KIND = FileKind("usage log", 0x62727975, 1, _SCHEMA, UsageLogError)


@dataclass(frozen=True, slots=True)
class Bin:
    """`requests` arrived in the `seconds` from `at_s` (Unix time). `sampled`: some that finished then, as prompt
    tokens, those of them that were cached, and output tokens.
    """

    at_s: float
    seconds: float
    requests: int
    sampled: Sampled = ()

    @property
    def end_s(self) -> float:
        return self.at_s + self.seconds


class UsageLog:
    """The writer. Every append is committed: a kill loses none, a power cut the last ones.

    Raises:
        UsageLogError: the file is something else, is corrupt, or cannot be written.
    """

    def __init__(self, path: Path, keep_days: float = KEEP_DAYS, now_s: Callable[[], float] = time.time) -> None:
        self._path, self._keep_s, self._now_s = path, keep_days * DAY_S, now_s
        self._models: dict[str, int] = {}
        self._silent: dict[str, Bin] = {}
        self._pruned_s = 0.0
        self._connection = KIND.create(path)

    def close(self) -> None:
        self._connection.close()

    def append(self, at_s: float, seconds: float, model: str, requests: int, sampled: Sampled) -> None:
        """What came in the `seconds` from `at_s` (Unix time), also if it was nothing.

        Raises:
            ValueError: no time, or a negative count.
            UsageLogError: the file cannot be written.
        """
        if seconds <= 0 or requests < 0:
            raise ValueError(f"{requests} requests in {seconds} s")
        told = Bin(at_s, seconds, requests, sampled[:: -(-len(sampled) // SAMPLES_KEPT) or 1])
        silent = self._silent.pop(model, None)
        if not requests and not sampled:
            if silent and abs(silent.end_s - at_s) < SEAM_S and at_s + seconds - silent.at_s <= SILENCE_S:
                told = Bin(silent.at_s, at_s + seconds - silent.at_s, 0)
            self._silent[model] = told
        with KIND.named_errors(self._path):
            self._connection.execute(
                "INSERT INTO bin VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " length_ms = max(length_ms, excluded.length_ms), requests = requests + excluded.requests",
                (self._id_of(model), *_in_ms(told), told.requests, packed(told.sampled)),
            )
            self._prune()

    def _id_of(self, model: str) -> int:
        if model not in self._models:
            self._connection.execute("INSERT OR IGNORE INTO model (name) VALUES (?)", (model,))
            (self._models[model],) = self._connection.execute(
                "SELECT id FROM model WHERE name = ?", (model,)
            ).fetchone()
        return self._models[model]

    def _prune(self) -> None:
        now_s = self._now_s()
        if now_s - self._pruned_s < SILENCE_S:
            return
        self._pruned_s = now_s
        kept_from_ms = round((now_s - self._keep_s) * 1000)
        self._connection.execute("DELETE FROM bin WHERE model IN (SELECT id FROM model) AND at_ms < ?", (kept_from_ms,))


def opened(path: Path) -> UsageLog:
    """The log at `path`. One that cannot be read is set aside, so that a damaged past does not stop the present.

    Raises:
        UsageLogError: it cannot be written.
    """
    try:
        return UsageLog(path)
    except UsageLogError as error:
        with KIND.named_errors(path):
            aside = set_aside(path, f".damaged-{int(time.time())}")
        logger.error("%s; it is set aside as %s", error, aside.name)
        return UsageLog(path)


def spans(path: Path) -> dict[str, tuple[float, float]]:
    """Of every model in the log: when its first bin begins and its last one ends.

    Raises:
        UsageLogError: there is no such file, or it is no usage log.
    """
    with KIND.reading(path) as connection:
        rows = connection.execute(
            "SELECT name, min(at_ms), max(at_ms + length_ms) FROM bin JOIN model ON bin.model = model.id GROUP BY name"
        ).fetchall()
    return {name: (first_ms / 1000, last_ms / 1000) for name, first_ms, last_ms in rows}


def bins(path: Path, model: str, from_s: float, to_s: float) -> Iterator[Bin]:
    """Those that begin between the two times, in order; silence that began before is cut. Reads a page at a time, so
    that a slow reader holds up no writer.

    Raises:
        UsageLogError: there is no such file, it is no usage log, or a row is damaged.
    """
    after_ms = round((from_s - SILENCE_S) * 1000) - 1
    with KIND.reading(path) as connection:
        while page := connection.execute(
            "SELECT at_ms, length_ms, requests, sampled FROM bin WHERE model = (SELECT id FROM model WHERE name = ?)"
            " AND at_ms > ? AND at_ms < ? ORDER BY at_ms LIMIT ?",
            (model, after_ms, round(to_s * 1000), PAGE_ROWS),
        ).fetchall():
            for at_ms, length_ms, requests, sampled in page:
                read = Bin(at_ms / 1000, length_ms / 1000, requests, unpacked(sampled))
                if read.at_s >= from_s:
                    yield read
                elif read.end_s > from_s and not requests:
                    yield Bin(from_s, read.end_s - from_s, 0)
            after_ms = page[-1][0]


def packed(sampled: Sampled) -> bytes:
    """Seven bits to a byte, the last of a number without the high bit (LEB128)."""
    out = bytearray()
    for number in (number for request in sampled for number in request):
        rest = max(0, number)
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def unpacked(blob: bytes) -> Sampled:
    """Raises:
    ValueError: it does not hold whole requests.
    """
    numbers, number, shift = [], 0, 0
    for byte in blob:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number, shift = 0, 0
    if shift or len(numbers) % 3:
        raise ValueError(f"{len(blob)} bytes are no whole samples")
    return tuple(zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True))


def _in_ms(told: Bin) -> tuple[int, int]:
    return round(told.at_s * 1000), max(1, round(told.seconds * 1000))
