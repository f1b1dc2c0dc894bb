"""Ray reads how it authenticates when it is first imported, and some test may import it before a cluster is started."""

import os

os.environ.setdefault("RAY_AUTH_MODE", "token")
