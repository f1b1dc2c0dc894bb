"""How often the one sentence that decides ranks first among ten: the default model on real vLLM.

`python -m tests.benchmarks.explain_planted [--json FILE]`: 48 texts, about ten minutes on two cores.
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
from tests.sets.sets import Planted, asking, planted, question, read

OUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "explain.json"
ASPECT = "sentiment"


async def explained(stand: ReadingStand, chooser: Chooser, case: Planted) -> dict[str, Any]:
    render = asking(ASPECT)
    asked = question(render, stand.model, case.text, tuple(read(ASPECT)))
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


async def measure() -> dict[str, Any]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        async with reading_stand(Path(folder)) as stand:
            chooser = Chooser(lambda _: 1)
            for case in planted():
                found.append(await explained(stand, chooser, case))
                print(len(found), found[-1]["chosen"], found[-1]["label"], found[-1]["rank"], flush=True)
    first = sum(one["rank"] == 1 for one in found)
    return {"model": stand.model, "texts": len(found), "first": first, "share_first": first / len(found), "each": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=OUT)
    arguments = parser.parse_args()
    document = asyncio.run(measure())
    write_json({**document, "commit": commit_id()}, arguments.json)
    print({key: value for key, value in document.items() if key != "each"})


if __name__ == "__main__":
    main()
