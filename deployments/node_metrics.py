"""Where each process of a node keeps its metrics, and where the node's exporter finds them."""

import logging
from pathlib import Path

import ray

from monitoring.process_files import ProcessFiles, write_to_files

logger = logging.getLogger(__name__)


def metrics_folder(folder: str) -> Path:
    """This node's."""
    return Path(folder) / str(ray.get_runtime_context().get_node_id())


def keep_metrics(folder: str) -> ProcessFiles | None:
    """Before this process makes its first metric. None: they are lost, for want of room on the disk."""
    try:
        return write_to_files(metrics_folder(folder))
    except OSError as error:
        logger.error("the metrics of this process are not kept, and nobody sees them: %s", error)
        return None
