"""Where commands make and end keys: at the running cluster's state deployment, else in its file."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cluster.audited import actor
from cluster.live_state import LiveState
from deployments.key_administration import KeyRefused
from deployments.key_changes import KeyChange, Refused
from deployments.key_store import KeyStore, SecretLost
from deployments.tenant_registry import listing

T = TypeVar("T")


class KeyDeskError(Exception):
    """State does not answer, or its file cannot be used; the message says which."""


class KeyDesk(Protocol):
    def change(self, change: KeyChange) -> dict[str, Any]:
        """Raises:
        KeyRefused: nothing was changed.
        """

    def listing(self) -> dict[str, Any]:
        """Keys, tenants and whether there has ever been a key."""

    def audit(self, limit: int) -> list[dict[str, Any]]:
        """Newest first."""


class RunningDesk:
    """What it changes, gateways know within a moment."""

    def __init__(self, state: LiveState) -> None:
        self._state = state

    def change(self, change: KeyChange) -> dict[str, Any]:
        made = self._answer(lambda: self._state.change_keys(change, actor()))
        if isinstance(made, Refused):
            raise KeyRefused(made.message)
        return made

    def listing(self) -> dict[str, Any]:
        return self._answer(self._state.keys)

    def audit(self, limit: int) -> list[dict[str, Any]]:
        return self._answer(lambda: self._state.audit(limit))

    def _answer(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except Exception as error:
            what = f"the state deployment does not answer ({type(error).__name__})"
            raise KeyDeskError(f"{what}; `baryon status` says more, `baryon keys list` what was changed") from None


class FileDesk:
    """What it changes counts when a cluster starts with this file."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    def change(self, change: KeyChange) -> dict[str, Any]:
        return self._store.carry_out(change, actor())

    def listing(self) -> dict[str, Any]:
        return listing(self._store)

    def audit(self, limit: int) -> list[dict[str, Any]]:
        return self._store.audit(limit)


@contextmanager
def key_desk(gcs_address: str | None, state_path: Path) -> Iterator[KeyDesk]:
    """Of the cluster that runs there, or of the state file if none does.

    Raises:
        KeyDeskError: see there.
    """
    if gcs_address is None:
        with _opened(state_path) as store:
            yield FileDesk(store)
        return
    with ExitStack() as stack:
        try:
            state = stack.enter_context(LiveState(gcs_address))
        except (ConnectionError, RuntimeError, TimeoutError) as error:
            raise KeyDeskError(f"the Ray cluster does not answer: {error}") from None
        yield RunningDesk(state)


def keys_exist_in(state_path: Path) -> bool:
    """Raises:
    KeyDeskError: the file cannot be used.
    """
    if not state_path.exists():
        return False
    with _opened(state_path) as store:
        return store.keys_exist()


@contextmanager
def _opened(state_path: Path) -> Iterator[KeyStore]:
    try:
        store = KeyStore(state_path)
    except (SecretLost, OSError, sqlite3.DatabaseError) as error:
        raise KeyDeskError(str(error)) from None
    try:
        yield store
    finally:
        store.close()
