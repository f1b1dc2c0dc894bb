"""Sessions that ask to stay together: the same replica for the same session, for every gateway, without memory."""

from collections.abc import Sequence
from hashlib import blake2b


def replica_of_session(session: bytes, candidates: Sequence[str]) -> str:
    """Rendezvous hashing (Thaler and Ravishankar 1998): a replica that comes or goes moves only its own sessions.

    Raises:
        ValueError: there is no candidate.
    """
    return max(candidates, key=lambda replica: (blake2b(replica.encode(), key=session[:64]).digest(), replica))
