"""Where the long runs leave their numbers."""

from pathlib import Path

RESULTS = Path(__file__).parents[2] / "docs" / "benchmarks"
