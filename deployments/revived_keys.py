"""Keys that a backup makes good again, or good for longer, although they were ended after it was made."""

import math
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RevivedKey:
    key_id: str
    tenant: str


def revived_keys(there: Path, restored: Path) -> tuple[RevivedKey, ...]:
    """`there`: the state file that is replaced, `restored`: what replaces it. Oldest first.

    Raises:
        sqlite3.Error: one of them cannot be read.
    """
    ends_there, ends_restored = _ends(there), _ends(restored)
    return tuple(key for key, end_s in ends_there.items() if key in ends_restored and end_s < ends_restored[key])


def _ends(state_path: Path) -> dict[RevivedKey, float]:
    """When each key ends, in seconds of the wall clock; those that do not: infinity."""
    with closing(sqlite3.connect(f"{state_path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'api_key'").fetchone() is None:
            return {}
        rows = connection.execute(
            "SELECT id, tenant, revoked_at_s, expires_at_s FROM api_key ORDER BY created_at_s"
        ).fetchall()
    return {
        RevivedKey(key_id, tenant): min(at_s for at_s in (*ends_s, math.inf) if at_s is not None)
        for key_id, tenant, *ends_s in rows
    }
