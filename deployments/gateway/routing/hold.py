"""Which replicas are open to one more request, and which have enough to do: what is held back can still be overtaken.

An engine takes what it has first come, first served, so who is inside cannot be overtaken. Enough is as much prefill
as keeps its steps full. While tenants compete, one replica is kept clear of what the busier ones send, so that a
prompt of the others starts at once somewhere: all others stay full, and the clear one gets the next request only when
it is done with the last.
"""

from collections.abc import Mapping
from typing import NamedTuple

from deployments.gateway.routing.score import Slo
from deployments.gateway.tenants.recent_shares import Standing

PATIENT_PART = 0.5
ENOUGH_PART = 0.05
CLEAR_PART = 0.015
LONG = 2.5
LONG_AMONG_MANY = 1.0
MANY_REPLICAS = 4


class Outstanding(NamedTuple):
    """What a replica has to do before one more request, which will then take `prefill_ms`. `has_favoured`: a prompt
    of a favoured tenant is among it, and whatever comes before its first token may share a step with it.
    """

    wait_ms: float
    prefill_ms: float
    has_favoured: bool = False
    hit_tokens: float = 0.0


class Hold(NamedTuple):
    """Milliseconds of prefill. A replica with more than `enough_ms` to do gets nothing; one with at most `clear_ms` is
    clear. `yields`: the request leaves the last clear replica to others; if its prefill is longer than `longest_ms`,
    even where that leaves the replica idle. `hurries`: it goes to where its first token comes soonest.
    """

    enough_ms: float
    clear_ms: float
    longest_ms: float
    yields: bool = False
    hurries: bool = False

    @staticmethod
    def of(slo: Slo, standing: Standing, typical_prefill_ms: float, replicas: int) -> "Hold":
        """For the busy a twentieth of the TTFT SLO is enough, or one more prompt as they are of late. For others half
        of it: they make nobody wait who asks for less, and that is where caches are. Long is what takes two and a half
        times as usual, or would break the SLO of whoever comes after it; less where one replica is a small part of all.
        """
        enough_ms = ENOUGH_PART * slo.ttft_ms if standing == "busy" else PATIENT_PART * slo.ttft_ms
        long = LONG_AMONG_MANY if replicas >= MANY_REPLICAS else LONG
        return Hold(
            max(enough_ms, typical_prefill_ms),
            CLEAR_PART * slo.ttft_ms,
            min(slo.ttft_ms, long * typical_prefill_ms),
            yields=standing == "busy",
            hurries=standing == "favoured",
        )


def open_to(replicas: Mapping[str, Outstanding], hold: Hold) -> list[str]:
    """The replicas that may take the request now: when some have room, those, and others that have more of it cached.

    Else a saturated fleet would compute everything anew wherever there is room next. How long such a one's queue may
    be is for the router to weigh.
    """
    not_full = {name: there for name, there in replicas.items() if there.wait_ms <= hold.enough_ms}
    if hold.yields:
        found = _open_to_the_busy(not_full, len(replicas), hold)
    elif hold.hurries and not_full:
        soonest_ms = min(there.wait_ms + there.prefill_ms for there in not_full.values())
        return [n for n, there in not_full.items() if there.wait_ms + there.prefill_ms <= soonest_ms + hold.clear_ms]
    else:
        found = list(not_full)
    if not found:
        return []
    longest_tokens = max(replicas[name].hit_tokens for name in found)
    cached = [n for n, t in replicas.items() if t.hit_tokens > longest_tokens and n not in found]
    return found + [n for n in cached if not hold.yields or _is_for_the_busy(replicas[n], hold)]


def _is_for_the_busy(there: Outstanding, hold: Hold) -> bool:
    return there.wait_ms > hold.clear_ms and not there.has_favoured


def _open_to_the_busy(not_full: Mapping[str, Outstanding], replicas: int, hold: Hold) -> list[str]:
    unshared = {name: there for name, there in not_full.items() if not there.has_favoured}
    clear = [name for name, there in unshared.items() if there.wait_ms <= hold.clear_ms]
    if not clear:
        return []
    filling = [name for name in unshared if len(clear) > 1 or name not in clear]
    if filling:
        return filling
    prefill_ms = min(not_full[name].prefill_ms for name in clear)
    return clear if replicas == 1 or prefill_ms <= hold.longest_ms else []
