from pathlib import Path

import pytest

from tests.unit.chart.helm import binaries

HERE = Path(__file__).parent
NEED_NONE = {
    "test_values_file.py",
    "test_image.py",
    "test_image_steps.py",
    "test_sizing.py",
    "test_policy_scan.py",
    "test_locks.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if binaries():
        return
    for item in items:
        if HERE in item.path.parents and item.path.name not in NEED_NONE:
            item.add_marker(pytest.mark.skip(reason="helm is not installed: scripts/get_helm.sh fetches it"))
