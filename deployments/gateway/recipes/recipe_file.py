"""A recipe from its file, ready to be used, or what is wrong with it and in which line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from cluster.checked_yaml import ConfigError, line_of, parse_yaml
from deployments.gateway.recipes.inputs import labels_problem, value_problem
from deployments.gateway.recipes.json_schema import schema_problem
from deployments.gateway.recipes.recipe import Message, Recipe
from deployments.gateway.recipes.template import Template, TemplateProblem, compiled

SUFFIX = ".yaml"
LARGEST_FILE_BYTES = 64 * 1024
DEEPEST = 40
Location = tuple[int | str, ...]


class RecipeError(Exception):
    """Why a file is refused; each line of it begins with `file:line:`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Templates of messages, compiled."""

    messages: tuple[tuple[str, Template], ...]

    def render(self, values: Mapping[str, Any], most_chars: int) -> list[dict[str, str]]:
        """All of them, also those that come out empty.

        Raises:
            GatewayError: see `Template.render`.
        """
        return [{"role": role, "content": template.render(values, most_chars)} for role, template in self.messages]


@dataclass(frozen=True, slots=True)
class ReadyRecipe:
    """`piece`, `combine`: for a text longer than the model's context."""

    recipe: Recipe
    prompt: Prompt
    piece: Prompt | None = None
    combine: Prompt | None = None


def load(path: Path) -> ReadyRecipe:
    """Raises:
    RecipeError: the file cannot be read, is no recipe, or has a template or schema that is not taken.
    """
    try:
        if path.exists() and not path.is_file():
            raise RecipeError(f"{path.name}:1: is no file")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise RecipeError(f"{path.name}:1: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path.name}:1: is not UTF-8") from None
    if len(data) > LARGEST_FILE_BYTES:
        raise RecipeError(f"{path.name}:1: has more than {LARGEST_FILE_BYTES >> 10} KiB")
    return parse(text, path.name)


def parse(text: str, file_name: str) -> ReadyRecipe:
    """Raises:
    RecipeError: see `load`.
    """
    refuse_what_takes_long(text, file_name)
    try:
        recipe = parse_yaml(text, file_name, Recipe)
    except ConfigError as error:
        raise RecipeError(str(error)) from None
    if f"{recipe.name}{SUFFIX}" != file_name:
        raise problem_at(text, file_name, ("name",), f"name: must be that of the file, which is {file_name}")
    for location, problem in value_problems(recipe):
        raise problem_at(text, file_name, location, f"{'.'.join(map(str, location))}: {problem}")
    return ready(recipe, text, file_name)


def refuse_what_takes_long(text: str, file_name: str) -> None:
    """Aliases could stand for more than fits into memory, and what is nested deep takes the reader minutes. What is no
    YAML at all is told by whoever reads it next.
    """
    depth = 0
    try:
        for event in YAML().parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            why = "has an alias (*); write it out" if isinstance(event, AliasEvent) else "is nested too deep"
            if isinstance(event, AliasEvent) or depth > DEEPEST:
                raise RecipeError(f"{file_name}:{event.start_mark.line + 1}: {why}")
    except (YAMLError, ValueError, RecursionError):
        return


def value_problems(recipe: Recipe) -> Sequence[tuple[Location, str]]:
    """What the types of the file's own values do not say."""
    output = recipe.output
    found: list[tuple[Location, str | None]] = [
        (("inputs", at, "default"), value_problem(field, field.default))
        for at, field in enumerate(recipe.inputs)
        if field.default is not None
    ]
    if output.json_schema is not None:
        found.append((("output", "json_schema"), schema_problem(output.json_schema)))
    if output.labels is not None:
        found.append((("output", "labels"), labels_problem(output.labels)))
    return [(location, problem) for location, problem in found if problem]


def ready(recipe: Recipe, text: str, file_name: str) -> ReadyRecipe:
    inputs = [field.name for field in recipe.inputs]
    lists = [field.name for field in recipe.inputs if field.is_list]

    def prompt(messages: Sequence[Message], *where: str) -> Prompt:
        made = []
        for at, message in enumerate(messages):
            try:
                made.append((message.role, compiled(message.content, inputs, lists)))
            except TemplateProblem as problem:
                location: Location = (*where, at, "content")
                words = f"{'.'.join(where)}[{at}].content: {problem}"
                raise problem_at(text, file_name, location, words, problem.line) from None
        return Prompt(tuple(made))

    long = recipe.long_text
    return ReadyRecipe(
        recipe,
        prompt(recipe.messages, "messages"),
        prompt(long.piece, "long_text", "piece") if long else None,
        prompt(long.combine, "long_text", "combine") if long else None,
    )


def problem_at(text: str, file_name: str, location: Location, problem: str, line_within: int = 1) -> RecipeError:
    return RecipeError(f"{file_name}:{line_of(text, location, line_within)}: {problem}")
