"""From what a cluster runs to another configuration, and back for a model whose new version does not start."""

from collections.abc import Sequence
from typing import Any

from cluster.bring_up import (
    BringUpError,
    Event,
    OnEvent,
    auto_device,
    placement_of,
    replica_ids,
    schema_for,
    wait_until_serving,
)
from cluster.config import BaryonConfig
from cluster.exposure import check_keys
from cluster.live_state import LiveState
from cluster.placement import Node
from cluster.rollout import changes, put_back, rollouts
from cluster.run_folder import RunFolder, RunRecord
from cluster.serve_api import ServeApi

PLACEMENT_PATIENCE_S = 60.0


class DoesNotFit(Exception):
    """A replica can be placed on no node of this cluster."""


def apply_config(config: BaryonConfig, folder: RunFolder, record: RunRecord, on_event: OnEvent) -> None:
    """Return once everything serves as configured. An application that does not is put back as it was.

    Raises:
        DoesNotFit: nothing was changed.
        NobodyMayCall: keys are needed and there is none; nothing was changed.
        BringUpError: an application failed; the message has the cause, and what serves now.
        ServeApiError: the dashboard refused or did not answer.
    """
    api = ServeApi(record.dashboard_url)
    with LiveState(record.gcs_address) as state:
        nodes, free = state.nodes(), state.free_nodes()
        check_keys(config.gateway, keys_exist=state.keys()["keys_exist"])
    refusal = placement_of(config, nodes, auto_device(nodes))
    if refusal is not None:
        raise DoesNotFit(refusal.message)
    schema, running = schema_for(config, folder, nodes), api.applications()
    roll_out(schema, running, free, on_event)
    patience_s = max((model.start_timeout_s for model in config.models), default=0.0) + PLACEMENT_PATIENCE_S
    api.deploy(schema)
    earlier = replica_ids(running) | replica_ids(api.applications())
    try:
        wait_until_serving(record, on_event, patience_s, to_the_end=True, earlier=earlier)
    except BringUpError as error:
        before = {name: running[name]["deployed_app_config"] for name in error.applications if name in running}
        if not before:
            raise
        for name in before:
            on_event(Event(name, "put back", "its new version does not serve"))
        state = running["state"]["deployed_app_config"]
        api.deploy(put_back(schema, {**before, "state": state}, before.keys()))
        earlier = replica_ids(api.applications())
        wait_until_serving(record, on_event, patience_s, only=before, earlier=earlier)
        raise BringUpError(f"{error}\nThe old version of {' and '.join(before)} goes on serving.") from None


def roll_out(schema: dict[str, Any], running: dict[str, Any], free: Sequence[Node], on_event: OnEvent) -> None:
    """Write into `schema` how replicas are replaced, as far as any are."""
    found = changes(schema, running)
    replaced = {change.application: change.replaced for change in found}
    chosen = rollouts(found, free)
    for application in schema["applications"]:
        name = application["name"]
        if name in chosen:
            application["deployments"][0].update(chosen[name].options(replaced[name]))
            on_event(Event(name, "rollout", chosen[name].words(replaced[name])))
