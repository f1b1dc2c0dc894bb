"""How replicas are chosen: ours, and every peer's from its published formula."""
