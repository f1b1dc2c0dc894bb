"""Hung means work without a step, not a long queue."""

from hypothesis import given
from hypothesis import strategies as st

from engine.health import HealthLimits, Observation, after_canary, at_start, judge, observe
from engine.probe import parse_metrics

LIMITS = HealthLimits(hang_timeout_s=10.0, idle_canary_period_s=60.0)


def test_work_without_a_step_for_the_limit_is_hung() -> None:
    health = at_start(0.0)
    for second in range(1, 30):
        health = observe(health, Observation(float(second), 5, running=3, waiting=90))
        verdict = judge(health, LIMITS, float(second))
        assert verdict.action == ("replace" if second >= 11 else "wait"), second
    assert "no step" in judge(health, LIMITS, 30.0).reason


@given(st.lists(st.floats(0.1, 9.9), min_size=1, max_size=60), st.integers(1, 500), st.integers(0, 5000))
def test_an_engine_that_steps_within_the_limit_is_never_replaced(gaps: list[float], running: int, waiting: int) -> None:
    """However long its queue is."""
    health, now_s = at_start(0.0), 0.0
    for step, gap_s in enumerate(gaps, 1):
        assert judge(health, LIMITS, now_s + gap_s * 0.99).action == "wait"
        now_s += gap_s
        health = observe(health, Observation(now_s, step, running, waiting))


def test_a_prompt_computed_in_chunks_makes_no_token_and_is_not_hung() -> None:
    health = at_start(0.0)
    for second in range(1, 100):
        usage = 0.01 * (second // 9)
        health = observe(health, Observation(float(second), 5, running=1, waiting=0, kv_cache_usage=usage))
        assert judge(health, LIMITS, float(second)).action == "wait", second


def test_a_server_that_answers_nothing_is_replaced() -> None:
    health = observe(at_start(0.0), Observation(5.0, None, None, None))
    assert judge(health, LIMITS, 9.9).action == "wait"
    verdict = judge(health, LIMITS, 10.0)
    assert (verdict.action, "not answered" in verdict.reason) == ("replace", True)


def test_only_an_idle_engine_gets_a_canary_and_it_counts_as_progress() -> None:
    health = at_start(0.0)
    for second in range(1, 60):
        health = observe(health, Observation(float(second), 0, 0, 0))
        assert judge(health, LIMITS, float(second)).action == "wait"
    health = observe(health, Observation(60.0, 0, 0, 0))
    assert judge(health, LIMITS, 60.0).action == "canary"
    assert judge(after_canary(health, 61.0), LIMITS, 62.0).action == "wait"


def test_work_that_arrives_after_an_idle_hour_is_not_hung_at_once() -> None:
    health = observe(at_start(0.0), Observation(3599.0, 7, 0, 0))
    health = observe(health, Observation(7200.0, 7, 0, 0))
    health = observe(health, Observation(7201.0, 7, 1, 0))
    assert judge(health, LIMITS, 7201.0).action == "wait"


def test_the_numbers_are_read_from_vllms_own_text() -> None:
    text = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.125
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="m"} 4.0
vllm:iteration_tokens_total_count{engine="0",model_name="m"} 901.0
vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 9.01e+02
python_gc_objects_collected_total{generation="0"} 1e+06
"""
    assert parse_metrics(text, 1.0) == Observation(1.0, 901, 3, 2, kv_cache_usage=0.125)
