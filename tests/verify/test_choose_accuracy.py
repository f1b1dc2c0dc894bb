"""Choosing by calibrated probabilities is more often right than the two simpler ways, on the default model."""

import asyncio

import pytest

from tests.benchmarks.choose_accuracy import measure
from tests.benchmarks.choose_report import accuracy, calibration_error

pytestmark = [pytest.mark.verify, pytest.mark.engine]
TASKS = ("sentiment of two", "topic of five")


def test_calibrated_choices_are_right_more_often_and_know_better_how_often() -> None:
    document = asyncio.run(measure(TASKS, {}))
    for name in TASKS:
        task = document["tasks"][name]
        assert len(task["answers"]) >= 200
        calibrated, uncalibrated, asked = (accuracy(task, way) for way in ("calibrated", "uncalibrated", "asked"))
        assert calibrated > uncalibrated, name
        assert calibrated > asked, name
        assert calibration_error(task["answers"], "calibrated") < 0.3, name
