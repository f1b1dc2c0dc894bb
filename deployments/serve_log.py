"""Our log lines in Serve's log of the replica they come from: JSON, with their own fields, on the dashboard's pages.

Without this they would go to stderr, which Serve takes in as text of level INFO.
"""

import logging

OURS = ("baryon", "cluster", "deployments", "engine", "opentelemetry")


class ToServesLog(logging.Handler):
    """Serve may change its own handlers while it runs, so what comes is handed to its logger."""

    def __init__(self) -> None:
        super().__init__()
        self._serve = logging.getLogger("ray.serve")

    def emit(self, record: logging.LogRecord) -> None:
        if self._serve.isEnabledFor(record.levelno):
            self._serve.handle(record)


def join_serves_log() -> None:
    """Once in a process of a deployment."""
    handler = ToServesLog()
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.getLogger("ray.serve").getEffectiveLevel())
