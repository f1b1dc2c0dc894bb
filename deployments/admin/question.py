"""What the admin routes are asked: read strictly, so that a typing error is not taken for "all"."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode

from deployments.gateway.errors import bad_request

LONGEST = 200
MOST_REQUESTS = 500
REQUESTS = 50


@dataclass(frozen=True, slots=True)
class RequestsQuestion:
    """The newest `limit` finished requests; empty `model` or `outcome`: any. `slow`: those that missed their SLO."""

    model: str = ""
    outcome: str = ""
    slow: bool = False
    limit: int = REQUESTS

    @staticmethod
    def read(query: bytes) -> "RequestsQuestion":
        """Raises:
        GatewayError: 400, an unknown name, a value twice, or no number.
        """
        given = parameters(query, frozenset({"model", "outcome", "slow", "limit"}))
        limit = given.get("limit", str(REQUESTS))
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MOST_REQUESTS):
            raise bad_request(f"limit is a number from 1 to {MOST_REQUESTS}", "limit")
        slow = given.get("slow", "0")
        if slow not in ("0", "1"):
            raise bad_request("slow is 0 or 1", "slow")
        return RequestsQuestion(given.get("model", ""), given.get("outcome", ""), slow == "1", int(limit))

    def query(self) -> str:
        slow = int(self.slow)
        return urlencode({"model": self.model, "outcome": self.outcome, "slow": slow, "limit": self.limit})


def parameters(query: bytes, known: frozenset[str]) -> dict[str, str]:
    """Raises:
    GatewayError: 400, an unknown name, or one twice.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), max_num_fields=8)
    except ValueError:
        raise bad_request("The part after ? is not NAME=VALUE&NAME=VALUE.") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise bad_request("A parameter came twice.")
    for name, value in given.items():
        if name not in known:
            raise bad_request(f"There is no parameter {name[:LONGEST]!r}; there are {', '.join(sorted(known))}.")
        if len(value) > LONGEST:
            raise bad_request(f"{name} is longer than {LONGEST} characters.", name)
    return given


def identity(segment: bytes) -> str | None:
    """The id that a path ends with; None if no request can have it. It is only ever compared with others."""
    if not segment or b"/" in segment or len(segment) > 3 * LONGEST or not segment.isascii():
        return None
    text = unquote(segment.decode("ascii"), errors="replace")
    return text if len(text) <= LONGEST and text.isascii() and text.isprintable() else None
