"""What a client asks of a recipe: its body, read and checked."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from deployments.gateway.body_rules.json_body import json_object
from deployments.gateway.body_rules.shape import DEEPEST, is_too_deep
from deployments.gateway.body_rules.values import FLAG, Value, number, text, whole
from deployments.gateway.errors import GatewayError, bad_request
from deployments.gateway.recipes.inputs import LONGEST_NAME_SHOWN, checked
from deployments.gateway.recipes.occlusion import Unit
from deployments.gateway.recipes.recipe import Recipe
from deployments.gateway.recipes.recipe_file import Prompt, ReadyRecipe

INT64 = 2**63 - 1
INPUTS = Value(lambda value: None, {"type": "object"})
UNITS: tuple[Unit, ...] = get_args(Unit)


def explain_problem(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    fits = isinstance(value, dict) and value.keys() <= {"input", "unit"}
    if not fits or not isinstance(value.get("input", ""), str) or value.get("unit", UNITS[0]) not in UNITS:
        return f"must be true or false, or an object with 'input' (a text's name) and 'unit' ({', '.join(UNITS)})"
    return None


EXPLAIN = Value(
    explain_problem,
    {
        "anyOf": [
            {"type": "boolean"},
            {
                "type": "object",
                "properties": {"input": {"type": "string"}, "unit": {"enum": list(UNITS)}},
                "additionalProperties": False,
            },
        ]
    },
)
FIELDS: dict[str, Value] = {
    "explain": EXPLAIN,
    "inputs": INPUTS,
    "model": text(200),
    "stream": FLAG,
    "max_tokens": whole(1, 1_000_000),
    "temperature": number(0, 2),
    "seed": whole(-INT64 - 1, INT64),
}


@dataclass(frozen=True, slots=True)
class Explain:
    """What is explained; None: as it suits the call."""

    input: str | None = None
    unit: Unit | None = None


@dataclass(frozen=True, slots=True)
class RecipeCall:
    """`values`: of every input; None, or an empty list, where nothing was given. `max_tokens` of the answer;
    `sampling`: what else engines are told. `most_chars` of a prompt. `explain`: if the caller wants to know why.
    """

    ready: ReadyRecipe
    model: str
    values: Mapping[str, Any]
    stream: bool
    max_tokens: int
    sampling: Mapping[str, Any]
    most_chars: int
    explain: Explain | None = None

    @property
    def recipe(self) -> Recipe:
        return self.ready.recipe

    def messages(self, prompt: Prompt, **instead: Any) -> list[dict[str, str]]:
        """Without those that come out empty. `instead`: values in the place of the caller's; what is left out does not
        depend on them, for a conversation without its question would be another one.

        Raises:
            GatewayError: 400, nothing is left; see `Template.render`.
        """
        made = prompt.render({**self.values, **instead}, self.most_chars)
        if all(message["content"] for message in made):
            return made
        own = prompt.render(self.values, self.most_chars) if instead else made
        kept = [
            message for message, as_given in zip(made, own, strict=True) if message["content"] or as_given["content"]
        ]
        if not kept:
            raise bad_request(
                "With these inputs the recipe has nothing to ask: all of its messages are empty.", "inputs"
            )
        return kept

    def chat(self, messages: list[dict[str, str]], max_tokens: int | None = None) -> dict[str, Any]:
        """For `/v1/chat/completions`. A last message that is the assistant's own is the beginning of the answer."""
        document = {"model": self.model, "messages": messages, "max_tokens": max_tokens or self.max_tokens}
        return {**document, **continued(messages), **self.sampling}


def continued(messages: list[dict[str, str]]) -> dict[str, bool]:
    """How a chat template is told."""
    if not messages or messages[-1]["role"] != "assistant":
        return {}
    return {"add_generation_prompt": False, "continue_final_message": True}


def read_document(body: bytes) -> dict[str, Any]:
    """Raises:
    GatewayError: 400, it is no JSON object, too deep, has too many parts, or a field that is none or of the wrong kind.
    """
    document = json_object(body)
    if is_too_deep(document):
        raise bad_request(f"The body is nested more than {DEEPEST} deep.", code="invalid_json")
    for name, value in document.items():
        field = FIELDS.get(name)
        if field is None:
            raise unknown_field(name)
        if value is not None and (problem := field.problem(value)):
            raise bad_request(f"'{name}' {problem}.", name)
    return document


def unknown_field(name: str) -> GatewayError:
    shown = name[:LONGEST_NAME_SHOWN]
    near = difflib.get_close_matches(shown, FIELDS, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else "What the recipe itself takes goes into 'inputs'."
    return bad_request(f"A recipe has no parameter '{shown}'. {hint}", shown, "unknown_parameter")


def call_of(
    ready: ReadyRecipe, document: dict[str, Any], model: str, context_tokens: int | None, most_chars: int
) -> RecipeCall:
    """`document` as `read_document` gave it; `model` as chosen for it, with its context as far as known, of which an
    answer is a quarter at most if the caller does not say how long it may be.

    Raises:
        GatewayError: 400, an input is missing or wrong, or something is asked that this recipe cannot do.
    """
    recipe = ready.recipe
    stream = bool(document.get("stream"))
    if stream and recipe.output.kind != "generate":
        message = (
            f"'{recipe.name}' answers at once, with {recipe.output.kind}: 'stream' is for recipes that write text."
        )
        raise bad_request(message, "stream", "unsupported_parameter")
    by_itself = recipe.defaults.max_tokens
    max_tokens = document.get("max_tokens") or min(by_itself, max(1, (context_tokens or 4 * by_itself) // 4))
    if max_tokens > recipe.limits.max_tokens:
        raise bad_request(f"'max_tokens' may be {recipe.limits.max_tokens} for '{recipe.name}'.", "max_tokens")
    values = checked(document.get("inputs"), recipe.inputs)
    temperature = document.get("temperature")
    sampling = {"temperature": recipe.defaults.temperature if temperature is None else temperature}
    if document.get("seed") is not None:
        sampling["seed"] = document["seed"]
    return RecipeCall(ready, model, values, stream, max_tokens, sampling, most_chars, explain_of(document))


def explain_of(document: dict[str, Any]) -> Explain | None:
    """Raises:
    GatewayError: 400, a stream cannot be explained.
    """
    wanted = document.get("explain")
    if wanted is None or wanted is False:
        return None
    if document.get("stream"):
        raise bad_request("'explain' is told with a whole answer; leave 'stream' out.", "explain")
    return Explain(**wanted) if isinstance(wanted, dict) else Explain()


def model_for(by_default: Iterable[str], there_are: Collection[str]) -> str:
    """Of a call that names none: the first default, or the only one there is. Whether it exists is checked like for
    every request.

    Raises:
        GatewayError: 400, nobody has said which.
    """
    chosen = next(iter(by_default), None)
    if chosen is not None:
        return chosen
    if len(there_are) == 1:
        return next(iter(there_are))
    names = ", ".join(there_are) or "none"
    message = f"Which model? Send 'model', one of: {names}. The operator can set gateway.recipes_model."
    raise bad_request(message, "model", "missing_required_parameter")


def recipe_named(name: str, recipes: Mapping[str, ReadyRecipe], refused: Mapping[str, str]) -> ReadyRecipe:
    """Raises:
    GatewayError: 404, there is none of this name, with the nearest one; or its file is refused, with the reason.
    """
    found = recipes.get(name)
    if found is not None:
        return found
    if name in refused:
        message = f"The recipe '{name}' is there, but its file is refused: {refused[name]}"
        raise GatewayError(404, "recipe_refused", message)
    shown = name[:LONGEST_NAME_SHOWN]
    near = difflib.get_close_matches(shown, recipes, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(recipes) or 'none'}."
    raise GatewayError(404, "recipe_not_found", f"There is no recipe '{shown}'. {hint}")
