"""Fetches models before an engine asks for them, as the chart's warm-up Job does.

`python -m cluster.warm_cache SOURCE…`, into the store of `$BARYON_HOME`. What is there and whole is left alone.
"""

import argparse
import sys
from collections.abc import Sequence

from cluster.run_folder import store_folder
from engine.weights.errors import ModelStoreError
from engine.weights.progress import Progress
from engine.weights.source import SourceError, parse_source
from engine.weights.store import ModelStore


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    store = ModelStore(store_folder())
    for text in parser.parse_args(arguments).sources:
        try:
            print(f"{text}: {store.materialise(parse_source(text), _say)}", flush=True)
        except (ModelStoreError, SourceError) as error:
            sys.exit(f"error: {text}: {error}")


def _say(progress: Progress) -> None:
    print(f"  {progress.stage}: {progress.note}", flush=True)


if __name__ == "__main__":
    main()
