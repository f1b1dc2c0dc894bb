"""Traces are read as they stream, in the format that they are in; what cannot be read is named."""

import json
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.simulator.trace import open_trace
from cluster.simulator.trace_request import TraceError

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
LENGTHS = '{"quantiles":[0,0.5,1]}\n{"input_tokens":{"q":[10,20,30]},"output_tokens":{"q":[1,2,3]}}\n'


def mooncake(timestamp: float = 0, tokens: int = 1_000, blocks: int = 2, **more: object) -> str:
    row = {"timestamp": timestamp, "input_length": tokens, "output_length": 10, "hash_ids": list(range(blocks))}
    return json.dumps({**row, **more}) + "\n"


def test_a_mooncake_trace_is_known_by_its_first_line_and_its_block_size_by_its_lengths(tmp_path: Path) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_text(mooncake() + mooncake(1_500))
    small.write_text(mooncake(tokens=31) + mooncake(5, tokens=32))
    assert [trace.block_tokens for trace in (open_trace(large), open_trace(small))] == [512, 16]
    requests = list(open_trace(large).requests(1))
    assert [(r.arrived_ms, r.input_tokens, r.output_tokens) for r in requests] == [(0, 1_000, 10), (1_500, 1_000, 10)]
    assert requests[0].blocks == (0,)


def test_a_clock_that_ticks_slowly_is_spread_by_the_seed_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("".join(mooncake(3_000 * (n // 10)) for n in range(100)))
    trace = open_trace(path)
    first, again, other = ([r.arrived_ms for r in trace.requests(seed)] for seed in (1, 1, 2))
    assert first == again != other
    assert first == sorted(first)
    assert all(3_000 * (n // 10) <= at < 3_000 * (n // 10 + 1) for n, at in enumerate(first))
    assert [r.arrived_ms for r in trace.requests(1, speedup=2)] == [at / 2 for at in first]


def test_an_azure_trace_starts_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(AZURE + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n")
    assert [(round(r.arrived_ms), r.input_tokens, r.output_tokens) for r in open_trace(path).requests(0)] == [
        (0, 374, 44),
        (4315, 396, 109),
    ]


def test_a_rate_table_gives_poisson_arrivals_with_the_lengths_beside_it(tmp_path: Path) -> None:
    (tmp_path / "m_rate.csv").write_text("t_s,rate_req_s\n0,20\n100,0\n200,5\n300,5\n")
    (tmp_path / "m_lengths.jsonl").write_text(LENGTHS)
    requests = list(open_trace(tmp_path / "m_rate.csv").requests(3))
    early, pause, late = (
        [r for r in requests if begin <= r.arrived_ms / 1000 < begin + 100] for begin in (0, 100, 200)
    )
    assert 1_700 < len(early) < 2_300
    assert not pause
    assert 400 < len(late) < 600
    assert all(10 <= r.input_tokens <= 30 and 1 <= r.output_tokens <= 3 for r in requests)


BROKEN = {
    "not JSON": (mooncake() + "{\n", ":2:", "not JSON"),
    "no length": (mooncake() + '{"timestamp": 3}\n', ":2:", "input_length"),
    "a list": (mooncake() + "[1]\n", ":2:", "expected an object"),
    "negative": (mooncake() + mooncake(3, -5), ":2:", "input_length"),
    "back in time": (mooncake(9) + mooncake(3), ":2:", "sort it"),
    "hashes of text": (mooncake(hash_ids=["a"]), ":1:", "hash_ids"),
    "two block sizes": (mooncake(blocks=2) + mooncake(blocks=50), "", "block size"),
    "another header": ("a,b,c\n1,2,3\n", ":1:", "Mooncake"),
    "nothing": ("", ":1:", "Mooncake"),
    "a date": (AZURE + "yesterday,1,1\n", ":2:", "TIMESTAMP"),
    "a column short": (AZURE + "2023-11-16 18:15:46,1\n", ":2:", "GeneratedTokens"),
    "no prompt": (AZURE + "2023-11-16 18:15:46,0,1\n", ":2:", "ContextTokens"),
}


@pytest.mark.parametrize(("text", "where", "what"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_named_with_its_line_and_what_is_valid(
    tmp_path: Path, text: str, where: str, what: str
) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(TraceError) as error:
        list(open_trace(path).requests(0))
    assert f"{path}{where}" in str(error.value)
    assert what in str(error.value)


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(TraceError, match=str(tmp_path / name)):
        open_trace(tmp_path / name)


def test_a_trace_is_not_read_whole(tmp_path: Path) -> None:
    """The last line is broken, and nobody who stops before it learns of that."""
    path = tmp_path / "trace"
    path.write_text("".join(mooncake(n) for n in range(5_000)) + "{\n")
    trace = open_trace(path)
    assert len(list(islice(trace.requests(1), 4_000))) == 4_000
    with pytest.raises(TraceError, match=":5001:"):
        list(trace.requests(1))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([b"", AZURE.encode(), mooncake().encode(), b"t_s,rate_req_s\n"]))
def test_any_bytes_are_a_trace_or_an_error(tmp_path: Path, rest: bytes, head: bytes) -> None:
    path = tmp_path / "x_rate.csv"
    (tmp_path / "x_lengths.jsonl").write_text(LENGTHS)
    path.write_bytes(head + rest)
    try:
        arrivals = [r.arrived_ms for r in islice(open_trace(path).requests(0), 200)]
    except TraceError:
        return
    assert arrivals == sorted(arrivals)
