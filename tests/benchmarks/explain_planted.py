"""How often the one sentence that decides ranks first among ten: the default model on real vLLM.

`python -m tests.benchmarks.explain_planted [--json FILE] [--minutes M] [--anew]`: 48 texts and 96 fresh ones, each with
the two labels that they have and with the shipped recipe's three, some ten minutes on two cores. What the file has is
not asked again, so several short runs do as well.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from cluster.bench.overhead_run import commit_id, write_json
from deployments.gateway.recipes.chooser import Chooser
from deployments.gateway.recipes.explain import explain_choice
from deployments.gateway.recipes.occlusion import ranked
from tests.benchmarks.reading_stand import MODEL, ReadingStand, reading_stand
from tests.sets.sets import POLAR, Planted, asking, planted, question, read

OUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "explain.json"
SETS = {", fresh": "planted_fresh", "": "planted"}
LABELS = {"two labels": POLAR, "three labels": tuple(read("sentiment"))}

Rows = dict[str, list[dict[str, Any]]]


async def explained(
    stand: ReadingStand, chooser: Chooser, number: int, case: Planted, labels: tuple[str, ...]
) -> dict[str, Any]:
    render = asking("sentiment")
    asked = question(render, stand.model, case.text, labels)
    why = await explain_choice(chooser, stand.calls(), asked, render, case.text, "sentence")
    weights = {
        "rank": why.shifts,
        "rank_by_size_of_contribution": [abs(value) for value in why.contributions],
        "rank_by_contribution": why.contributions,
    }
    return {
        "text": number,
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


async def measure(stand: ReadingStand, rows: Rows, until_s: float, save: Callable[[], None]) -> None:
    """Each text with two labels and then with three, which find its variants in the prefix cache; in an order in which
    the first few are as mixed as all.
    """
    chooser = Chooser(lambda _: 1)
    for more, name in SETS.items():
        known = {row["text"] for row in rows[f"three labels{more}"]}
        for number, case in Random(0).sample(cases := list(enumerate(planted(name))), len(cases)):
            if number not in known and time.monotonic() < until_s:
                found = {run: await explained(stand, chooser, number, case, labels) for run, labels in LABELS.items()}
                for run, row in found.items():
                    rows[run + more].append(row)
                save()


async def measure_for(rows: Rows, minutes: float, save: Callable[[], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with reading_stand(Path(folder)) as stand:
            await measure(stand, rows, time.monotonic() + 60 * minutes, save)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=OUT)
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no other text is begun")
    parser.add_argument("--anew", action="store_true", help="forget what the file has")
    arguments = parser.parse_args()
    before = {} if arguments.anew or not arguments.json.exists() else json.loads(arguments.json.read_text())["runs"]
    rows: Rows = {run + more: before.get(run + more, {}).get("each", []) for more in SETS for run in LABELS}

    commit = commit_id()

    def save() -> None:
        runs = {name: summed(found) for name, found in rows.items() if found}
        write_json({"model": MODEL, "runs": runs, "commit": commit}, arguments.json)

    asyncio.run(measure_for(rows, arguments.minutes, save))
    for name, found in rows.items():
        if found:
            print(name, {key: value for key, value in summed(found).items() if key != "each"})


if __name__ == "__main__":
    main()
