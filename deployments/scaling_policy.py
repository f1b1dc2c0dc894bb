"""What Serve's controller asks how many replicas a model is to have, ten times a second, in its event loop.

It only looks up what state decided (`deployments.scaling`), because a policy that raises or waits here stops every
application from deploying. Serve pickles this module by value, so it holds no state of its own.
"""

from typing import Any

from ray.serve.config import AutoscalingContext

from deployments import targets


class ScalingPolicy:
    """Neither raises nor waits: where nothing is known, or anything fails, the count stays as it is."""

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        try:
            wanted = targets.followed_targets().of(context.app_name)
        except Exception:
            wanted = None
        return context.target_num_replicas if wanted is None else wanted, {}
