"""Choosing by calibrated probabilities is more often right than the two simpler ways, on the default model."""

import asyncio

import pytest

from tests.benchmarks.choose_accuracy import measure
from tests.benchmarks.choose_report import accuracy, calibration_error

pytestmark = [pytest.mark.verify, pytest.mark.engine]
FARTHEST_OFF = 0.3


@pytest.mark.parametrize("name", ["sentiment of two", "sentiment of three", "topic of five"])
def test_calibrated_choices_are_right_more_often_than_others(name: str) -> None:
    """What they say of how often they are right is not far off."""
    task = asyncio.run(measure((name,), {}))["tasks"][name]
    assert len(task["answers"]) >= 200
    calibrated, uncalibrated, asked = (accuracy(task, way) for way in ("calibrated", "uncalibrated", "asked"))
    assert calibrated > uncalibrated
    assert calibrated > asked
    assert calibration_error(task["answers"], "calibrated") < FARTHEST_OFF
