"""Which gateways there are, as each tells state every two seconds, so that any of them can ask all of them."""

from dataclasses import dataclass, field

REPORT_PERIOD_S = 2.0
SILENT_GATEWAY_IS_GONE_S = 5 * REPORT_PERIOD_S


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """What a gateway says of itself: where its private port is, and what opens it."""

    gateway_id: str
    url: str
    secret: str = field(repr=False)
    node_id: str
    pid: int
    started_at_s: float


@dataclass(frozen=True, slots=True)
class ReplicaCounts:
    """One model's, as the autoscaler counts: asked of Serve, ready, asked for and not ready."""

    target: int
    running: int
    starting: int


@dataclass(frozen=True, slots=True)
class Told:
    """What state answers: all gateways it hears of, and how many replicas each model has."""

    gateways: tuple[GatewayReport, ...] = ()
    counts: dict[str, ReplicaCounts] = field(default_factory=dict)


class GatewayRegistry:
    """One that is silent disappears. Times: any one clock, in seconds."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[float, GatewayReport]] = {}

    def report(self, gateway: GatewayReport, now_s: float) -> None:
        self._heard[gateway.gateway_id] = (now_s, gateway)

    def forget(self, gateway_id: str) -> None:
        """It has said that it goes."""
        self._heard.pop(gateway_id, None)

    def gateways(self, now_s: float) -> tuple[GatewayReport, ...]:
        """The oldest first."""
        self._heard = {one: heard for one, heard in self._heard.items() if now_s - heard[0] < SILENT_GATEWAY_IS_GONE_S}
        known = (gateway for _, gateway in self._heard.values())
        return tuple(sorted(known, key=lambda gateway: (gateway.started_at_s, gateway.gateway_id)))
