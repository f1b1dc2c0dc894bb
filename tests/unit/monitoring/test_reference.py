"""The reference page says what the registry says."""

from pathlib import Path

from monitoring.metrics import BARYON, VLLM
from monitoring.reference import page

ROOT = Path(__file__).parents[3]


def test_the_page_in_the_docs_is_current() -> None:
    written = (ROOT / "docs/metrics.md").read_text()
    assert written == page((*BARYON, *VLLM)), "run `python -m monitoring.reference > docs/metrics.md`"


def test_each_metric_is_on_it() -> None:
    text = page((*BARYON, *VLLM))
    assert all(f"| `{metric.name}` |" in text for metric in (*BARYON, *VLLM))
