"""What each preset renders, kept for review: `python -m tests.unit.chart.golden` writes it anew."""

from pathlib import Path

import yaml

from tests.unit.chart.helm import rendered

FOLDER = Path(__file__).with_name("golden")
PRESETS = ("cpu", "single-gpu", "multi-gpu", "ha", "hardened")


class _Readable(yaml.SafeDumper):
    """Text of several lines as such."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def golden(preset: str) -> str:
    """All but the Secrets, which are random where there is no cluster."""
    objects = [o for o in rendered(presets=(preset,)) if o["kind"] != "Secret"]
    return yaml.dump_all(objects, Dumper=_Readable, width=200)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in PRESETS:
        (FOLDER / f"{name}.yaml").write_text(golden(name))
