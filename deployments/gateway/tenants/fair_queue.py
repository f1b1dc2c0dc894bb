"""Who goes next: of the highest priority that waits the tenant that was served least, and of that one who came first.

A higher priority can starve a lower one: that is what it is for, and the deadline of those who wait makes it honest.
No clock and no I/O: the simulator runs this very code.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

from deployments.gateway.tenants.drain_rate import DrainRate
from deployments.gateway.tenants.recent_shares import RecentShares
from deployments.gateway.tenants.virtual_counters import VirtualCounters

T = TypeVar("T", bound=Hashable)


class Claim(NamedTuple):
    """What a request says of itself. `tokens`: what it is expected to take, `size_bytes`: what it holds."""

    tenant: str
    priority: int = 0
    tokens: float = 0.0
    size_bytes: int = 0


class _TenantLine(Generic[T]):
    """One tenant's, first come first served."""

    def __init__(self) -> None:
        self.waiting: OrderedDict[T, None] = OrderedDict()
        self.tokens = 0.0
        self.size_bytes = 0


class _Class(Generic[T]):
    """Tenants of one priority."""

    def __init__(self) -> None:
        self.counters = VirtualCounters()
        self.lines: dict[str, _TenantLine[T]] = {}


class FairQueue(Generic[T]):
    """Requests for one model at one gateway. Each joins once and leaves once; `charge` who goes to a replica."""

    def __init__(self) -> None:
        self.shares = RecentShares()
        self.drain = DrainRate()
        self._classes: dict[int, _Class[T]] = {}
        self._claims: dict[T, Claim] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def __iter__(self) -> Iterator[T]:
        return iter(self._claims)

    def join(self, item: T, claim: Claim) -> None:
        of_priority = self._class(claim.priority)
        line = of_priority.lines.get(claim.tenant)
        if line is None:
            of_priority.counters.lift(claim.tenant)
            line = of_priority.lines[claim.tenant] = _TenantLine()
        line.waiting[item] = None
        line.tokens += claim.tokens
        line.size_bytes += claim.size_bytes
        self._claims[item] = claim

    def leave(self, item: T) -> None:
        claim = self._claims.pop(item)
        lines = self._classes[claim.priority].lines
        line = lines[claim.tenant]
        del line.waiting[item]
        line.tokens -= claim.tokens
        line.size_bytes -= claim.size_bytes
        if not line.waiting:
            del lines[claim.tenant]

    def first(self) -> T | None:
        """Who goes next; None if nobody waits. Of tenants served the same the one that has waited longer."""
        for priority in sorted(self._classes, reverse=True):
            of_priority = self._classes[priority]
            if of_priority.lines:
                tenant = min(of_priority.lines, key=of_priority.counters.of)
                return next(iter(of_priority.lines[tenant].waiting))
        return None

    def charge(self, claim: Claim) -> None:
        """A request goes to a replica, whether it has waited or not."""
        of_priority = self._class(claim.priority)
        if claim.tenant not in of_priority.lines:
            of_priority.counters.lift(claim.tenant)
        of_priority.counters.charge(claim.tenant, claim.tokens)
        of_priority.counters.forget_settled(of_priority.lines)

    def correct(self, claim: Claim, took_tokens: float) -> None:
        """What was charged for took so much in the end."""
        self._class(claim.priority).counters.correct(claim.tenant, took_tokens - claim.tokens)

    def tokens_ahead(self, claim: Claim) -> float:
        """Work that goes before one more request like this: all of higher priorities, its tenant's own that waits, and
        as much of each tenant of the same priority as it will have had by then.
        """
        ahead = 0.0
        for priority, of_priority in self._classes.items():
            if priority > claim.priority:
                ahead += sum(line.tokens for line in of_priority.lines.values())
            elif priority == claim.priority:
                own = of_priority.lines.get(claim.tenant)
                own_tokens = own.tokens if own else 0.0
                others = (line.tokens for line in of_priority.lines.values() if line is not own)
                ahead += own_tokens + sum(min(tokens, own_tokens + claim.tokens) for tokens in others)
        return ahead

    def requests_by_tenant(self) -> Counter[str]:
        return self._by_tenant(lambda line: len(line.waiting))

    def bytes_by_tenant(self) -> Counter[str]:
        return self._by_tenant(lambda line: line.size_bytes)

    def last_of(self, tenant: str) -> T:
        """The request of this tenant that would go last.

        Raises:
            KeyError: none waits.
        """
        lowest = min((p for p, found in self._classes.items() if tenant in found.lines), default=None)
        if lowest is None:
            raise KeyError(tenant)
        return next(reversed(self._classes[lowest].lines[tenant].waiting))

    def _by_tenant(self, held: Callable[[_TenantLine[T]], int]) -> Counter[str]:
        found: Counter[str] = Counter()
        for of_priority in self._classes.values():
            for tenant, line in of_priority.lines.items():
                found[tenant] += held(line)
        return found

    def _class(self, priority: int) -> _Class[T]:
        found = self._classes.get(priority)
        if found is None:
            found = self._classes[priority] = _Class()
        return found
