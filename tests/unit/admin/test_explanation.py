"""The sentence that answers "why was this request slow?"."""

from typing import Any

from deployments.admin.explanation import explanation, in_words


def row(number: int = 0, outcome: str = "completed", output_tokens: int = 101, **stages_ms: float) -> dict[str, Any]:
    stages = {"queue": 0.0, "engine_queue": 0.0, "prefill": 50.0, "decode": 1_000.0} | stages_ms
    return {
        "request_id": f"req-{number}",
        "model": "chat",
        "outcome": outcome,
        "status": 200,
        "error_code": "",
        "e2e_ms": sum(stages.values()),
        "prompt_tokens": 100,
        "output_tokens": output_tokens,
        "stages_ms": stages,
    }


OTHERS = [row(number) for number in range(1, 8)]


def test_it_names_the_largest_stage_and_what_is_usual() -> None:
    told = explanation(row(queue=4_000.0), [*OTHERS, *[row(8, queue=20.0)] * 8])
    assert told["largest"] == "queue"
    assert told["sentence"] == (
        "It took 5.05 s. 79% of that was waiting at the gateway for a replica with room (queue, 4 s), "
        "200.0 times what is usual for chat (20 ms)."
    )


def test_a_stage_that_usually_takes_nothing_is_not_divided_by() -> None:
    assert "much more than what is usual for chat (0 ms)" in explanation(row(queue=4_000.0), OTHERS)["sentence"]


def test_a_long_answer_at_the_usual_speed_is_not_called_slow() -> None:
    sentence = explanation(row(output_tokens=1_001, decode=10_000.0), OTHERS)["sentence"]
    assert "1001 tokens at 10 ms each; usual are 101 at 10 ms, so it was a long answer at the usual speed" in sentence


def test_slow_tokens_are_called_so() -> None:
    sentence = explanation(row(decode=4_000.0), OTHERS)["sentence"]
    assert "each token took 4.0 times as long: the replica was busy" in sentence


def test_what_is_as_usual_is_called_so() -> None:
    assert explanation(row(), OTHERS)["sentence"].endswith("so that is as usual.")
    others = [row(number, prefill=1_900.0) for number in range(1, 7)]
    assert explanation(row(prefill=2_000.0), others)["sentence"].endswith("as usual for chat (1.9 s).")


def test_too_few_others_are_not_called_usual() -> None:
    told = explanation(row(), OTHERS[:3])
    assert told["usual"] is None
    assert "too few other requests" in told["sentence"]


def test_a_request_is_not_compared_with_itself_nor_with_broken_ones() -> None:
    broken = [row(number, "broken", decode=9.0) for number in range(20, 40)]
    assert explanation(row(), [row(), *OTHERS, *broken])["usual"]["requests"] == len(OTHERS)


def test_a_refused_request_says_why() -> None:
    refused = row(outcome="refused") | {"status": 404, "error_code": "model_not_found"}
    assert explanation(refused, [])["sentence"] == "It was refused after 1.05 s (model_not_found)."
    shed = row(outcome="shed", queue=9_000.0) | {"status": 503, "error_code": "at_capacity"}
    sentence = explanation(shed, [])["sentence"]
    assert "turned away after 10.1 s, as the cluster was full or not ready (at_capacity)" in sentence


def test_a_client_that_left_is_not_the_clusters_fault() -> None:
    assert explanation(row(outcome="client_gone"), OTHERS)["sentence"].startswith("The client left after 1.05 s.")


def test_where_the_engine_told_nothing_the_whole_is_compared() -> None:
    gone = row(outcome="client_gone", engine=9_000.0)
    assert explanation(gone, OTHERS)["sentence"].endswith("a whole request of chat usually takes 1.05 s.")


def test_times_are_said_as_people_say_them() -> None:
    assert [in_words(ms) for ms in (None, 0.123, 7.0, 12.4, 1_234.0, 150_000.0)] == [
        *("an unknown time", "0.12 ms", "7 ms", "12 ms", "1.23 s", "2.5 min"),
    ]
