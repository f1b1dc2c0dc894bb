"""What a reader of the docs would paste into a terminal."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
CURL = re.compile(r"curl -\w+ http://127\.0\.0\.1:8000(/\S+)((?: (?:\\\n *)?-H (?:'[^']*'|\"[^\"]*\"))+) -d '([^']*)'")


@dataclass(frozen=True, slots=True)
class Example:
    """`with_key`: it says who asks."""

    path: str
    body: dict[str, Any]
    with_key: bool


def examples(page: str) -> list[Example]:
    """Every call of a page, which has no other."""
    text = (DOCS / page).read_text()
    found = [Example(path, json.loads(body), "$KEY" in headers) for path, headers, body in CURL.findall(text)]
    assert len(found) == text.count("curl "), f"{page} has an example that this cannot read"
    return found


def block(page: str, beginning: str) -> str:
    """The code block that begins so."""
    (found,) = re.findall(rf"```\w*\n({re.escape(beginning)}.*?)```", (DOCS / page).read_text(), re.DOTALL)
    return str(found)
