"""How often the one sentence that decides ranks first among ten: the default model on real vLLM.

`python -m tests.benchmarks.explain_planted [--json FILE]`: 48 texts, with the two labels that they have and with the
shipped recipe's three, some ten minutes on two cores.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

from cluster.bench.overhead_run import commit_id, write_json
from deployments.gateway.recipes.chooser import Chooser
from deployments.gateway.recipes.explain import explain_choice
from deployments.gateway.recipes.occlusion import ranked
from tests.benchmarks.reading_stand import ReadingStand, reading_stand
from tests.sets.sets import POLAR, Planted, asking, planted, question, read

OUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "explain.json"
LABELS = {"two labels": POLAR, "three labels": tuple(read("sentiment"))}


async def explained(stand: ReadingStand, chooser: Chooser, case: Planted, labels: tuple[str, ...]) -> dict[str, Any]:
    render = asking("sentiment")
    asked = question(render, stand.model, case.text, labels)
    why = await explain_choice(chooser, stand.calls(), asked, render, case.text, "sentence")
    order = ranked(why.contributions)
    return {
        "label": case.label,
        "chosen": why.answer,
        "decisive": case.decisive,
        "rank": 1 + order.index(case.decisive),
        "contributions": [round(value, 5) for value in why.contributions],
        "cost": why.document()["cost"],
    }


def summed(found: list[dict[str, Any]]) -> dict[str, Any]:
    right = [one for one in found if one["chosen"] == one["label"]]
    return {
        "texts": len(found),
        "chosen_rightly": len(right),
        "first": sum(one["rank"] == 1 for one in found),
        "first_of_those_chosen_rightly": sum(one["rank"] == 1 for one in right),
        "share_first": sum(one["rank"] == 1 for one in found) / len(found),
        "each": found,
    }


async def measure(stand: ReadingStand, labels: tuple[str, ...]) -> dict[str, Any]:
    chooser = Chooser(lambda _: 1)
    return summed([await explained(stand, chooser, case, labels) for case in planted()])


async def measure_all() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        async with reading_stand(Path(folder)) as stand:
            runs = {name: await measure(stand, labels) for name, labels in LABELS.items()}
            return {"model": stand.model, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=OUT)
    arguments = parser.parse_args()
    document = asyncio.run(measure_all())
    write_json({**document, "commit": commit_id()}, arguments.json)
    for name, run in document["runs"].items():
        print(name, {key: value for key, value in run.items() if key != "each"})


if __name__ == "__main__":
    main()
