"""How often the one sentence that decides ranks first among ten: the default model on real vLLM.

`python -m tests.benchmarks.explain_planted [--json FILE] [--only RUN]`: 48 texts and 96 fresh ones, with the two labels
that they have and with the shipped recipe's three, some fifteen minutes on two cores.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cluster.bench.overhead_run import commit_id, write_json
from deployments.gateway.recipes.chooser import Chooser
from deployments.gateway.recipes.explain import explain_choice
from deployments.gateway.recipes.occlusion import ranked
from tests.benchmarks.reading_stand import ReadingStand, reading_stand
from tests.sets.sets import POLAR, Planted, asking, planted, question, read

OUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "explain.json"
THREE = tuple(read("sentiment"))
RUNS = {
    "two labels": ("planted", POLAR),
    "three labels": ("planted", THREE),
    "two labels, fresh": ("planted_fresh", POLAR),
    "three labels, fresh": ("planted_fresh", THREE),
}


async def explained(stand: ReadingStand, chooser: Chooser, case: Planted, labels: tuple[str, ...]) -> dict[str, Any]:
    render = asking("sentiment")
    asked = question(render, stand.model, case.text, labels)
    why = await explain_choice(chooser, stand.calls(), asked, render, case.text, "sentence")
    weights = {
        "rank": why.shifts,
        "rank_by_size_of_contribution": [abs(value) for value in why.contributions],
        "rank_by_contribution": why.contributions,
    }
    return {
        "label": case.label,
        "chosen": why.answer,
        "decisive": case.decisive,
        **{name: 1 + ranked(values).index(case.decisive) for name, values in weights.items()},
        "contributions": [round(value, 5) for value in why.contributions],
        "shifts": [round(value, 5) for value in why.shifts],
        "cost": why.document()["cost"],
    }


def summed(found: list[dict[str, Any]]) -> dict[str, Any]:
    """How many of the texts have the decisive sentence first: as it is ranked, and as it would be by other ways."""
    right = [one for one in found if one["chosen"] == one["label"]]
    return {
        "texts": len(found),
        "chosen_rightly": len(right),
        "first": sum(one["rank"] == 1 for one in found),
        "first_of_those_chosen_rightly": sum(one["rank"] == 1 for one in right),
        "share_first": sum(one["rank"] == 1 for one in found) / len(found),
        "first_by_size_of_contribution": sum(one["rank_by_size_of_contribution"] == 1 for one in found),
        "first_by_contribution": sum(one["rank_by_contribution"] == 1 for one in found),
        "each": found,
    }


async def measure(stand: ReadingStand, name: str, labels: tuple[str, ...]) -> dict[str, Any]:
    chooser = Chooser(lambda _: 1)
    return summed([await explained(stand, chooser, case, labels) for case in planted(name)])


async def measure_all(wanted: Collection[str], before: dict[str, Any]) -> dict[str, Any]:
    runs = dict(before)
    with tempfile.TemporaryDirectory() as folder:
        async with reading_stand(Path(folder)) as stand:
            for name in wanted or RUNS:
                runs[name] = await measure(stand, *RUNS[name])
            return {"model": stand.model, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=OUT)
    parser.add_argument("--only", action="append", default=[], choices=RUNS, help="the others stay as they are")
    arguments = parser.parse_args()
    before = json.loads(arguments.json.read_text())["runs"] if arguments.only and arguments.json.exists() else {}
    document = asyncio.run(measure_all(arguments.only, before))
    write_json({**document, "commit": commit_id()}, arguments.json)
    for name, run in document["runs"].items():
        print(name, {key: value for key, value in run.items() if key != "each"})


if __name__ == "__main__":
    main()
