"""The three Serve applications, as builders that a Serve config names by import path.

`args` hold only what needs a new process when it changes. What `baryon apply` changes in place (SLOs, limits, counts)
is in each deployment's `user_config` and `autoscaling_config`.
"""

from typing import Any

from ray import serve
from ray.serve import Application

from deployments.gateway_deployment import GatewayDeployment
from deployments.replica import Replica
from deployments.state import State

START_ATTEMPTS = 2


def state(args: dict[str, Any]) -> Application:
    return serve.deployment(name="State")(State).bind(**args)


def gateway(args: dict[str, Any]) -> Application:
    return serve.deployment(name="Gateway")(GatewayDeployment).bind(**args)


def model(args: dict[str, Any]) -> Application:
    return serve.deployment(name="Replica", max_constructor_retry_count=START_ATTEMPTS)(Replica).bind(args)
