"""The request router that Serve instantiates wherever a handle to a model exists; no request ever goes through it.

Serve pickles this module by value (`RequestRouterConfig._serialize_request_router_cls`), so it may hold no state of its
own: what it learns goes to `deployments.membership`, which is imported by name in every process.
"""

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from deployments import membership


class MembershipRouter(RequestRouter):  # type: ignore[misc]
    """Publishes the running replicas of one application to this process's listener."""

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        membership.deliver(self._deployment_id.app_name, replicas)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        return [candidate_replicas]
