"""The usage log gives back what was told, knows silence from absence, stays bounded, and survives a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.usage_log import (
    DAY_S,
    SAMPLES_KEPT,
    SILENCE_S,
    Bin,
    UsageLog,
    UsageLogError,
    bins,
    opened,
    packed,
    spans,
    unpacked,
)

AT_S = 1_800_000_000.0
CHAT = ((1_200, 640, 85), (31, 0, 1))
EVER = (0.0, 1e12)


class Clock:
    def __init__(self) -> None:
        self.at_s = AT_S

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "usage.sqlite"


@pytest.fixture
def log(path: Path) -> UsageLog:
    return UsageLog(path, now_s=Clock())


def test_what_was_told_is_read_by_model_and_time(log: UsageLog, path: Path) -> None:
    for number in range(5):
        log.append(AT_S + 10 * number, 10, "chat", number + 1, CHAT)
        log.append(AT_S + 10 * number, 10, "code", 7, ())
    assert list(bins(path, "chat", AT_S + 10, AT_S + 30)) == [
        Bin(AT_S + 10, 10, 2, CHAT),
        Bin(AT_S + 20, 10, 3, CHAT),
    ]
    assert spans(path) == {"chat": (AT_S, AT_S + 50), "code": (AT_S, AT_S + 50)}
    assert list(bins(path, "nobody", *EVER)) == []


def test_a_reader_meets_no_writer_in_the_way_and_a_restart_goes_on(log: UsageLog, path: Path) -> None:
    log.append(AT_S, 10, "chat", 1, CHAT)
    reading = bins(path, "chat", *EVER)
    assert next(reading).requests == 1
    log.append(AT_S + 10, 10, "chat", 2, CHAT)
    log.close()
    again = UsageLog(path, now_s=Clock())
    again.append(AT_S + 20, 10, "chat", 3, CHAT)
    assert [one.requests for one in bins(path, "chat", *EVER)] == [1, 2, 3]


def test_silence_takes_one_row_an_hour_and_ends_with_the_next_request(log: UsageLog, path: Path) -> None:
    for number in range(720):
        log.append(AT_S + 10 * number, 10, "chat", 0, ())
    log.append(AT_S + 7_200, 10, "chat", 4, CHAT)
    assert list(bins(path, "chat", *EVER)) == [
        Bin(AT_S, SILENCE_S, 0),
        Bin(AT_S + 3_600, SILENCE_S, 0),
        Bin(AT_S + 7_200, 10, 4, CHAT),
    ]


def test_silence_that_began_before_is_cut_to_what_was_asked_for(log: UsageLog, path: Path) -> None:
    for number in range(6):
        log.append(AT_S + 10 * number, 10, "chat", 0, ())
    assert list(bins(path, "chat", AT_S + 25, AT_S + 100)) == [Bin(AT_S + 25, 35, 0)]


def test_time_in_which_nothing_was_recorded_is_no_silence(log: UsageLog, path: Path) -> None:
    log.append(AT_S, 10, "chat", 0, ())
    log.append(AT_S + 300, 10, "chat", 0, ())
    assert list(bins(path, "chat", *EVER)) == [Bin(AT_S, 10, 0), Bin(AT_S + 300, 10, 0)]


def test_of_many_samples_some_of_all_gateways_are_kept(log: UsageLog, path: Path) -> None:
    log.append(AT_S, 10, "chat", 100, [(number + 1, 0, 1) for number in range(100)])
    (one,) = bins(path, "chat", *EVER)
    assert SAMPLES_KEPT // 2 < len(one.sampled) <= SAMPLES_KEPT
    assert max(prompt for prompt, _, _ in one.sampled) > 90


def test_a_clock_that_was_set_back_loses_no_request(log: UsageLog, path: Path) -> None:
    log.append(AT_S, 10, "chat", 3, CHAT)
    log.append(AT_S, 10, "chat", 4, CHAT)
    assert sum(one.requests for one in bins(path, "chat", *EVER)) == 7


def test_what_is_older_than_kept_goes_also_of_models_that_are_gone(path: Path) -> None:
    clock = Clock()
    log = UsageLog(path, keep_days=2, now_s=clock)
    log.append(AT_S, 10, "gone", 1, CHAT)
    for hour in range(72):
        clock.at_s = AT_S + 3_600 * hour
        log.append(clock.at_s, 10, "chat", 1, CHAT)
    assert list(spans(path)) == ["chat"]
    first_s, last_s = spans(path)["chat"]
    assert 2 * DAY_S <= last_s - first_s <= 2 * DAY_S + 3_610


def test_a_busy_day_takes_about_a_megabyte_and_a_silent_one_next_to_nothing(path: Path) -> None:
    log = UsageLog(path, now_s=Clock())
    for number in range(24 * 360):
        log.append(AT_S + 10 * number, 10, "silent", 0, ())
    log.close()
    silent_bytes = path.stat().st_size
    log = UsageLog(path, now_s=Clock())
    sampled = [(900 + 97 * number, 64 * number, 40 * number) for number in range(SAMPLES_KEPT)]
    for number in range(24 * 360):
        log.append(AT_S + 10 * number, 10, "busy", 1_000, sampled)
    log.close()
    assert silent_bytes < 40_000
    assert path.stat().st_size - silent_bytes < 1_200_000


@pytest.mark.parametrize(("seconds", "requests"), [(0.0, 1), (-1.0, 1), (10.0, -1)])
def test_what_cannot_be_is_not_recorded(log: UsageLog, path: Path, seconds: float, requests: int) -> None:
    with pytest.raises(ValueError, match="requests in"):
        log.append(AT_S, seconds, "chat", requests, ())
    assert spans(path) == {}


def test_only_the_owner_can_read_it(log: UsageLog, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0


WRITER = """
import sys
from pathlib import Path
from deployments.usage_log import UsageLog
log = UsageLog(Path(sys.argv[1]), keep_days=1e5)
number = 0
while True:
    log.append(1e9 + 10 * number, 10, "chat", number, [(1, 0, 1)])
    print(number, flush=True)
    number += 1
"""


def test_a_kill_loses_nothing_that_was_told(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    told = [int(writer.stdout.readline()) for _ in range(500)][-1]
    os.kill(writer.pid, signal.SIGKILL)
    told = max([told, *(int(line) for line in writer.stdout.read().split("\n")[:-1])])
    assert writer.wait() == -signal.SIGKILL
    counts = [one.requests for one in bins(path, "chat", 0, 1e12)]
    assert counts == list(range(len(counts)))
    assert told + 1 <= len(counts) <= told + 2
    UsageLog(path, keep_days=1e5).append(2e9, 10, "chat", 1, ())
    assert len(list(bins(path, "chat", 0, 1e12))) == len(counts) + 1


def test_a_file_that_is_something_else_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    text, foreign = tmp_path / "notes.sqlite", tmp_path / "other.sqlite"
    text.write_text("not a database, but long enough to be taken for one by its size alone" * 20)
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE bin (at_ms INTEGER)")
    connection.close()
    for path in (text, foreign):
        before = path.read_bytes()
        for use in (UsageLog, spans, lambda path: list(bins(path, "chat", 0, 1))):
            with pytest.raises(UsageLogError, match=path.name):
                use(path)
        assert path.read_bytes() == before
    for path in (tmp_path / "none.sqlite", tmp_path):
        with pytest.raises(UsageLogError, match="no such file"):
            spans(path)


def test_damage_inside_the_file_is_named(log: UsageLog, path: Path) -> None:
    for number in range(5_000):
        log.append(AT_S + 10 * number, 10, "chat", 1, CHAT)
    log.close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20_000] = os.urandom(20_000)
    path.write_bytes(content)
    with pytest.raises(UsageLogError, match=r"usage\.sqlite: .*(malformed|samples|operand|bytes)"):
        list(bins(path, "chat", *EVER))


def test_a_later_version_is_not_guessed_at(log: UsageLog, path: Path) -> None:
    log.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(UsageLogError, match="version 2"):
        spans(path)


@given(st.lists(st.tuples(*[st.integers(0, 2**40)] * 3)))
def test_lengths_come_out_as_they_went_in(sampled: list[tuple[int, int, int]]) -> None:
    assert unpacked(packed(sampled)) == tuple(sampled)


@given(st.binary(max_size=40))
def test_bytes_that_are_no_samples_are_refused_or_read_whole(blob: bytes) -> None:
    try:
        assert all(len(request) == 3 for request in unpacked(blob))
    except ValueError as error:
        assert "no whole samples" in str(error)


def test_a_log_that_cannot_be_read_is_set_aside_and_a_new_one_begins(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"not a database" * 100)
    log = opened(path)
    log.append(time.time() - 10, 10.0, "chat", 3, ())
    log.close()
    assert sum(told.requests for told in bins(path, "chat", *EVER)) == 3
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes().startswith(b"not a database")
