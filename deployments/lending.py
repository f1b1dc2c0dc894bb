"""The lender on its clock, with its store: what state does for limits."""

import logging
import secrets
import sqlite3
from pathlib import Path

from deployments.day_store import DayStore
from deployments.day_totals import DayCount
from deployments.gateway.tenants.bins import Moment
from deployments.gateway.tenants.lease import Reply, Report
from deployments.gateway.tenants.spending import system_moment
from deployments.lender import Lender

logger = logging.getLogger(__name__)

SAVE_PERIOD_S = 1.0


class Lending:
    """Gateways report every second, so a day's tokens are saved as often. A restart forgets no more than that, and
    nothing of gateways that go on.

    Raises:
        sqlite3.DatabaseError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._store = DayStore(path)
        began = system_moment()
        self._lender = Lender(secrets.token_hex(4), began, self._store.spent)
        self._unsaved: list[DayCount] = []
        self._saved = began

    def exchange(self, report: Report) -> Reply:
        moment = system_moment()
        reply = self._lender.exchange(report, moment)
        if moment.now_s - self._saved.now_s >= SAVE_PERIOD_S:
            self._lender.forget_empty(moment)
            self._save(moment)
        return reply

    def close(self) -> None:
        self._save(system_moment())
        self._store.close()

    def _save(self, moment: Moment) -> None:
        """What cannot be saved now is tried again with the next; limits hold all the same."""
        self._unsaved += self._lender.days.take_unsaved()
        try:
            if self._unsaved:
                self._store.keep(self._unsaved)
            if moment.day != self._saved.day:
                self._store.forget_before(moment.day)
            self._unsaved = []
        except sqlite3.Error as error:
            logger.error("tokens of the day are not saved: %s", error)
        self._saved = moment
