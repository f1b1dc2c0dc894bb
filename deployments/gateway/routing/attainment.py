"""Whether a request kept the model's SLO."""

from deployments.gateway.routing.score import Slo


def kept(slo: Slo, ttft_ms: float | None, e2e_ms: float, output_tokens: int | None) -> bool:
    """Both times from the request's arrival; TPOT = (E2E − TTFT)/(output − 1), of two tokens or more.

    Where nobody told when the first token came, E2E must be within what TTFT and TPOT allow together.
    """
    later_tokens = max(0, (output_tokens or 1) - 1)
    if ttft_ms is None:
        return e2e_ms <= slo.ttft_ms + later_tokens * slo.tpot_ms
    if ttft_ms > slo.ttft_ms:
        return False
    return not later_tokens or e2e_ms - ttft_ms <= later_tokens * slo.tpot_ms
