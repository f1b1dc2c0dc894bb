"""Ray reads how it authenticates when it is first imported, and some test may import it before a cluster is started."""

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("RAY_AUTH_MODE", "token")

# The machine may be busy: slowness is no property of ours.
settings.register_profile("baryon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("baryon")
