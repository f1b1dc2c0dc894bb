"""A node is free to go a minute after the last of ours has left it."""

from deployments.exported_nodes import ExportedNodes


def test_a_node_is_scraped_until_a_minute_after_the_last_of_ours_has_left_it() -> None:
    nodes = ExportedNodes()
    nodes.saw(["a", "b"], 0.0)
    nodes.saw(["b"], 50.0)
    assert nodes.now(59.0) == {"a", "b"}
    assert nodes.now(61.0) == {"b"}
    assert nodes.now(111.0) == frozenset()
