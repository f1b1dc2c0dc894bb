"""What an engine prints reaches its file with its name, within bounds, and never holds the engine up."""

import os
from pathlib import Path

import pytest

from engine import line_log
from engine.line_log import LONGEST_LINE_BYTES, TAIL_LINES, LineLog


def logged(path: Path, output: bytes, identity: str = "r1") -> LineLog:
    reader, writer = os.pipe()
    log = LineLog(os.fdopen(reader, "rb"), path, identity)
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(output)
    log.wait_for_end(10)
    return log


def test_every_line_has_the_replicas_name_and_the_tail_has_not(tmp_path: Path) -> None:
    log = logged(tmp_path / "new" / "a.log", b"one\r\n\ntw\xffo\nno end")
    assert (tmp_path / "new" / "a.log").read_bytes() == b"[r1] one\n[r1] \n[r1] tw\xffo\n[r1] no end\n"
    assert log.tail() == ["one", "", "tw\ufffdo", "no end"]


def test_the_file_is_rotated_and_one_older_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_log, "FILE_BYTES", 1000)
    logged(tmp_path / "a.log", b"".join(b"line %04d\n" % n for n in range(500)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.1.log", "a.log"]
    older, newer = ((tmp_path / name).read_text() for name in ("a.1.log", "a.log"))
    assert len(older) <= 1020
    assert newer.endswith("[r1] line 0499\n")
    assert older.splitlines()[-1] == f"[r1] line {int(newer.splitlines()[0].split()[-1]) - 1:04d}"


def test_a_restarted_engine_writes_on_below_its_predecessor(tmp_path: Path) -> None:
    logged(tmp_path / "a.log", b"first\n")
    logged(tmp_path / "a.log", b"second\n")
    assert (tmp_path / "a.log").read_text() == "[r1] first\n[r1] second\n"


def test_memory_is_bounded_whatever_is_printed(tmp_path: Path) -> None:
    tail = logged(tmp_path / "a.log", b"x" * (3 * LONGEST_LINE_BYTES) + b"\n" + b"y\n" * 1000).tail()
    assert len(tail) == TAIL_LINES
    assert max(map(len, tail)) <= LONGEST_LINE_BYTES


@pytest.mark.parametrize("path", [Path("/dev/full"), Path("/dev/null/folder/a.log")])
def test_a_file_that_cannot_be_written_loses_nothing_but_the_file(path: Path) -> None:
    assert logged(path, b"n\n" * 300).tail() == ["n"] * 300
