"""The gateway's own account of what it has sent where and not yet got back."""

from dataclasses import dataclass


@dataclass(slots=True)
class InFlight:
    """Requests and guessed prompt tokens on one replica, from this gateway."""

    requests: int = 0
    prompt_tokens: int = 0


class Ledger:
    """Opened when a request is sent, closed once when it ends, however it ends."""

    def __init__(self) -> None:
        self._replicas: dict[str, InFlight] = {}

    def open(self, replica_id: str, prompt_tokens: int) -> None:
        entry = self._replicas.setdefault(replica_id, InFlight())
        entry.requests += 1
        entry.prompt_tokens += prompt_tokens

    def close(self, replica_id: str, prompt_tokens: int) -> None:
        entry = self._replicas[replica_id]
        entry.requests -= 1
        entry.prompt_tokens -= prompt_tokens
        if entry.requests == 0:
            del self._replicas[replica_id]

    def on(self, replica_id: str) -> tuple[int, int]:
        """Requests and prompt tokens in flight."""
        entry = self._replicas.get(replica_id)
        return (entry.requests, entry.prompt_tokens) if entry else (0, 0)

    def total_requests(self) -> int:
        return sum(entry.requests for entry in self._replicas.values())
