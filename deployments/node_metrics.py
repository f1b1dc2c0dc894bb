"""Where each process of a node keeps its metrics, and where the node's exporter finds them."""

from pathlib import Path

import ray

from monitoring.process_files import ProcessFiles, write_to_files


def metrics_folder(folder: str) -> Path:
    """This node's."""
    return Path(folder) / str(ray.get_runtime_context().get_node_id())


def keep_metrics(folder: str) -> ProcessFiles:
    """Before this process makes its first metric."""
    return write_to_files(metrics_folder(folder))
