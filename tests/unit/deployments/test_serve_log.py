"""Log lines of ours as Serve's JSON log has them: with levels and fields, and nothing that a client wrote."""

import json
import logging
import logging.handlers
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.serve._private.logging_utils import configure_component_logger
from ray.serve.schema import LoggingConfig

from deployments.gateway.request_log import log_request
from deployments.gateway.request_record import RequestRecord
from deployments.gateway.tenants.tenant import Tenant
from deployments.serve_log import OURS, join_serves_log
from tests.unit.gateway.conftest import StartEngine, open_stand, start_engine
from tests.unit.gateway.harness import MODEL, OpenStand, post
from tests.unit.gateway.keys import keyring_of, new_key
from tests.unit.gateway.scripted_engine import hang_up
from tests.unit.gateway.test_request_record import SECRET_WORDS

__all__ = ["open_stand", "start_engine"]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Serve's log file of a component, in JSON."""
    loggers = [logging.getLogger(name) for name in ("ray.serve", *OURS)]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    configure_component_logger(
        component_name="gateway",
        component_id="1",
        logging_config=LoggingConfig(encoding="JSON", logs_dir=str(tmp_path)),
        max_bytes=10**6,
        backup_count=1,
    )
    join_serves_log()
    yield tmp_path
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in folder.glob("*.log") for line in path.read_text().splitlines()]


def test_a_line_keeps_its_level_and_its_fields(log: Path) -> None:
    logging.getLogger("deployments.gateway.app").warning("no %s", "luck", extra={"request_id": "req-1"})
    logging.getLogger("deployments.gateway.app").debug("not told")
    (line,) = [line for line in lines(log) if line["filename"] == "test_serve_log.py"]
    assert (line["levelname"], line["message"], line["request_id"]) == ("WARNING", "no luck", "req-1")


async def test_a_request_that_failed_has_a_line_with_its_ids_and_without_its_prompt_or_key(
    log: Path, start_engine: StartEngine, open_stand: OpenStand
) -> None:
    key = new_key()
    gateway = await open_stand(await start_engine(hang_up), keyring=keyring_of({key: Tenant("acme")}))
    gateway.gateway.app.observers.append(log_request)
    body = {"model": MODEL, "messages": [{"role": "user", "content": SECRET_WORDS}]}
    answer = await gateway.ask(post(body=body, headers=f"authorization: Bearer {key}\r\nx-request-id: mine\r\n"))
    await gateway.settled()
    (line,) = [line for line in lines(log) if "request_id" in line]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["client_request_id"], line["tenant"], line["engine_replica"]) == ("mine", "acme", "r0")
    assert (line["levelname"], line["outcome"], line["error_code"]) == ("WARNING", "failed", "engine_unavailable")
    assert SECRET_WORDS not in repr(lines(log))
    assert key not in repr(lines(log))


def test_what_is_refused_or_goes_well_has_no_line(log: Path) -> None:
    for outcome in ("completed", "refused", "shed", "client_gone"):
        record = RequestRecord("req-1", "g", "/v1/completions", outcome=outcome)  # type: ignore[arg-type]
        log_request(record)
    assert not lines(log)
