"""The ledger adds up every batch once, whatever happens between a gateway and it."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.gateway.usage_counts import Counts, Row, day_number, day_text
from deployments.usage_ledger import LedgerError, UsageLedger, UsageQuery, opened, read_sums, total

DAY = day_number("2026-11-25")
counts = st.builds(Counts, *(st.integers(0, 1000) for _ in range(7)))
places = st.tuples(st.integers(DAY, DAY + 2), st.sampled_from(["a", "b"]), st.sampled_from(["m", "n"]))
batches = st.lists(st.lists(st.tuples(places, counts), max_size=3), min_size=1, max_size=4)


def rows(**named: int) -> list[Row]:
    return [((DAY, "acme", "chat"), Counts(**named))]


def summed(told: Sequence[Sequence[Row]]) -> Counts:
    return sum((one for batch in told for _, one in batch), Counts())


@settings(max_examples=25, deadline=None)
@given(by_gateway=st.dictionaries(st.sampled_from(["g1", "g2"]), batches), data=st.data())
def test_totals_are_those_of_the_distinct_batches_under_retries_late_copies_and_crashes(
    by_gateway: dict[str, list[list[Row]]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A gateway tells its batches in order, each until it is confirmed; copies of old ones may come at any time."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    ledger = UsageLedger(path)
    confirmed = dict.fromkeys(by_gateway, 0)
    while left := [gateway for gateway in by_gateway if confirmed[gateway] < len(by_gateway[gateway])]:
        gateway = data.draw(st.sampled_from(left))
        number = data.draw(st.integers(1, confirmed[gateway] + 1))
        is_new = number == confirmed[gateway] + 1
        fate = data.draw(st.sampled_from(["confirmed", "written, unheard", "lost"]))
        if fate != "lost":
            ledger.add(gateway, number, by_gateway[gateway][number - 1])
        if data.draw(st.integers(0, 3)) == 0:
            ledger.close()
            ledger = UsageLedger(path)
        if is_new and fate == "confirmed":
            confirmed[gateway] = number
    assert total(ledger.sums(UsageQuery())) == summed([batch for told in by_gateway.values() for batch in told])
    ledger.close()


def test_a_batch_that_is_told_twice_counts_once_and_a_restart_remembers_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = UsageLedger(path)
    assert ledger.add("g1", 1, rows(requests=1, output_tokens=5))
    assert not ledger.add("g1", 1, rows(requests=1, output_tokens=5))
    ledger.close()
    ledger = UsageLedger(path)
    assert not ledger.add("g1", 1, rows(requests=1, output_tokens=5))
    assert ledger.add("g2", 1, rows(requests=1, output_tokens=7))
    (row,) = ledger.sums(UsageQuery())
    assert (row["day"], row["tenant"], row["model"]) == ("2026-11-25", "acme", "chat")
    assert (row["requests"], row["output_tokens"]) == (2, 12)


def test_what_is_asked_for_is_filtered_and_summed(tmp_path: Path) -> None:
    ledger = UsageLedger(tmp_path / "ledger.sqlite")
    told: list[Row] = [
        ((DAY, "a", "m"), Counts(requests=1, prompt_tokens=1)),
        ((DAY + 1, "a", "n"), Counts(requests=1, prompt_tokens=2)),
        ((DAY + 2, "b", "m"), Counts(requests=1, prompt_tokens=4)),
    ]
    ledger.add("g1", 1, told)

    def tokens(query: UsageQuery) -> list[int]:
        return [row["prompt_tokens"] for row in ledger.sums(query)]

    assert tokens(UsageQuery(by=("tenant",))) == [3, 4]
    assert tokens(UsageQuery(by=("model",))) == [5, 2]
    assert tokens(UsageQuery(by=("day",), from_day=day_text(DAY + 1))) == [2, 4]
    assert tokens(UsageQuery(by=(), to_day=day_text(DAY + 1))) == [3]
    assert tokens(UsageQuery(tenant="b", model="n")) == []
    assert tokens(UsageQuery(by=(), tenant="nobody")) == []
    assert ledger.sums(UsageQuery()) == read_sums(tmp_path / "ledger.sqlite", UsageQuery())


@pytest.mark.parametrize("query", [{"from_day": "yesterday"}, {"to_day": "2026-13-01"}, {"by": ("colour",)}])
def test_what_cannot_be_asked_is_an_error(query: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        UsageQuery(**query)  # type: ignore[arg-type]


def test_another_file_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (a)")
    with pytest.raises(LedgerError, match="no usage ledger"):
        UsageLedger(path)
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerError, match="not a database"):
        UsageLedger(path)
    with pytest.raises(LedgerError, match="no such file"):
        read_sums(tmp_path / "nothing.sqlite", UsageQuery())


WRITER = """
import sys
from pathlib import Path
from deployments.gateway.usage_counts import Counts
from deployments.usage_ledger import UsageLedger
ledger, batch = UsageLedger(Path(sys.argv[1])), 0
while True:
    batch += 1
    ledger.add("g1", batch, [((20000, "a", "m"), Counts(requests=1))])
    print(batch, flush=True)
"""


def test_what_was_confirmed_survives_a_sigkill_of_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < 50:
            pass
        os.kill(writer.pid, signal.SIGKILL)
        confirmed = [int(line) for line in writer.stdout.read().split()]
    kept = total(read_sums(path, UsageQuery())).requests
    last = max(confirmed, default=50)
    assert last <= kept <= last + 1


def test_gateways_that_have_long_been_gone_are_forgotten(tmp_path: Path) -> None:
    now_s = time.time()
    ledger = UsageLedger(tmp_path / "ledger.sqlite", lambda: now_s)
    ledger.add("old", 1, rows(requests=1))
    now_s += 31 * 86_400
    ledger.add("new", 1, rows(requests=1))
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        assert connection.execute("SELECT gateway FROM source").fetchall() == [("new",)]


def test_a_damaged_ledger_is_set_aside_and_counting_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    ledger = opened(path)
    assert ledger.add("g1", 1, rows(requests=1))
    (aside,) = tmp_path.glob("ledger.sqlite.damaged-*")
    assert aside.read_bytes().startswith(b"not a database")
