"""One configuration for all nodes names no address; each puts its own."""

import ray

from cluster.config import THIS_NODE


def address_here(host: str) -> str:
    """`THIS_NODE` becomes the address by which other nodes reach this one; any other host stays."""
    return str(ray.util.get_node_ip_address()) if host == THIS_NODE else host
