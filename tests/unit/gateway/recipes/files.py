"""Recipe files as an operator writes them."""

from pathlib import Path

from deployments.gateway.recipes.recipe_file import ReadyRecipe, parse

GREET = """\
name: greet
about: Greets somebody.
inputs:
  - {name: who, type: text, max_chars: 20}
  - {name: times, type: texts, required: false}
messages:
  - role: system
    content: |
      You greet.
      Be kind.
  - role: user
    content: "Greet {{ who }}."
output: {kind: generate}
"""


def put(folder: Path, text: str, name: str = "greet") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text.replace("name: greet", f"name: {name}", 1))
    return path


def read(text: str, name: str = "greet") -> ReadyRecipe:
    return parse(text, f"{name}.yaml")
