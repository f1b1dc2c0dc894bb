"""A log line for each request that went wrong, with the ids to find it by. At debug level, one for every request."""

import logging

from deployments.gateway.request_record import RequestRecord

logger = logging.getLogger("baryon.requests")

FAULTS = frozenset({"failed", "broken", "timed_out"})


def log_request(record: RequestRecord) -> None:
    """An observer. What is shed or refused is counted elsewhere: a flood of it must not become a flood of lines."""
    level = logging.WARNING if record.outcome in FAULTS else logging.DEBUG
    if logger.isEnabledFor(level):
        logger.log(level, "request %s: %s", record.request_id, record.outcome, extra=fields(record))


def fields(record: RequestRecord) -> dict[str, object]:
    """`replica` is Serve's own field for the process that logs."""
    known = {
        "request_id": record.request_id,
        "client_request_id": record.client_request_id,
        "trace_id": record.trace_id,
        "tenant": record.tenant,
        "model": record.model,
        "engine_replica": record.replica,
        "outcome": record.outcome,
        "status": record.status,
        "error_code": record.error_code,
        "stages_ms": {name: round(ms, 3) for name, ms in record.stages_ms().items()},
        "e2e_ms": round(record.e2e_ms, 3),
    }
    return {name: value for name, value in known.items() if value != ""}
