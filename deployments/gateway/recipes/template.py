"""A recipe's prompt: the part of Jinja that always ends soon and looks at nothing but the recipe's own inputs.

What a template may hold is a list of syntax, checked on its parsed form before it is compiled: Jinja computes constants
while it compiles, so `{{ 'a' * 10**9 }}` would already be too late.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
import orjson
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from deployments.gateway.errors import GatewayError

FILTERS = ("trim", "upper", "lower", "capitalize", "title", "default", "join", "length", "truncate")
TESTS = ("defined", "none")
OF_INPUTS = ("join", "json")
LONGEST_BETWEEN = 64
SYNTAX = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.For, nodes.CondExpr),
    *(nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Filter, nodes.Test, nodes.Concat),
)
REFUSED: dict[type[nodes.Node], str] = {
    nodes.Getattr: "reads an attribute; a template may only use its recipe's inputs as they are",
    nodes.Getitem: "reads an item; a template may only use its recipe's inputs as they are",
    nodes.Call: "calls something; a template may only use its recipe's inputs and filters",
    nodes.Include: "includes another template; write it out",
    nodes.Import: "imports another template; write it out",
    nodes.FromImport: "imports another template; write it out",
    nodes.Extends: "extends another template; write it out",
    nodes.Macro: "defines a macro; write it out",
}
LARGEST_CHARS = 32 * 1024


class TemplateProblem(Exception):
    """`line`: within the template, counted from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # a prompt is no HTML
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=nothing_is_empty,
        cache_size=0,
    )
    made.globals.clear()
    made.filters = {name: made.filters[name] for name in FILTERS} | {"json": as_json}
    made.tests = {name: made.tests[name] for name in TESTS}
    return made


def nothing_is_empty(value: object) -> object:
    return "" if value is None else value


def as_json(value: object) -> str:
    """A filter."""
    return orjson.dumps(value).decode()


ENVIRONMENT = environment()


@dataclass(frozen=True, slots=True)
class Template:
    """Compiled. `names`: the inputs that it reads."""

    names: frozenset[str]
    compiled: jinja2.Template

    def render(self, values: Mapping[str, Any], most_chars: int) -> str:
        """Every one of `names` has a value, if only None.

        Raises:
            GatewayError: 400, it becomes longer than `most_chars`, or an input's value does not fit what is done to it.
        """
        pieces, chars = [], 0
        try:
            for piece in self.compiled.generate(values):
                pieces.append(piece)
                chars += len(piece)
                if chars > most_chars:
                    raise too_long(most_chars)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise GatewayError(
                400, "template_failed", f"The inputs do not fit the recipe's template: {error}"
            ) from None
        return "".join(pieces).strip()


def too_long(most_chars: int) -> GatewayError:
    message = f"With these inputs the prompt has more than {most_chars} characters, which is the most there may be."
    return GatewayError(400, "prompt_too_long", message, "inputs")


def compiled(source: str, inputs: Collection[str], lists: Collection[str]) -> Template:
    """`inputs`: what it may read. `lists`: those of them that are short lists, which alone it may loop over.

    Raises:
        TemplateProblem: it is no Jinja, or has what is not allowed here.
    """
    if len(source) > LARGEST_CHARS:
        raise TemplateProblem(1, f"has more than {LARGEST_CHARS} characters")
    try:
        parsed = ENVIRONMENT.parse(source)
        names = frozenset(check(parsed, frozenset(inputs), frozenset(lists)))
        return Template(names, ENVIRONMENT.from_string(parsed))
    except jinja2.TemplateSyntaxError as error:
        raise TemplateProblem(error.lineno, f"is not Jinja: {error.message}") from None
    except RecursionError:
        raise TemplateProblem(1, "is nested too deep") from None


def check(node: nodes.Node, inputs: frozenset[str], lists: frozenset[str]) -> Iterator[str]:
    """The inputs that are read below `node`.

    Raises:
        TemplateProblem: the first thing that is not allowed.
    """
    if not isinstance(node, SYNTAX):
        why = REFUSED.get(type(node)) or f"has {type(node).__name__}, which templates of recipes do not have"
        raise TemplateProblem(node.lineno, why)
    if isinstance(node, nodes.For):
        yield from check_loop(node, inputs, lists)
        return
    if isinstance(node, nodes.Filter | nodes.Test):
        check_named(node)
    if isinstance(node, nodes.Name):
        if node.name not in inputs:
            raise TemplateProblem(node.lineno, f"reads '{node.name}', which is not an input: {listing(inputs)}")
        yield node.name
    for inner in node.iter_child_nodes():
        yield from check(inner, inputs, lists)


def check_loop(loop: nodes.For, inputs: frozenset[str], lists: frozenset[str]) -> Iterator[str]:
    """Once over a list of an input's, which is bounded; a loop within it would multiply."""
    if not (isinstance(loop.iter, nodes.Name) and loop.iter.name in lists):
        over = f" ({listing(lists)})" if lists else "; this recipe has none"
        raise TemplateProblem(loop.lineno, f"loops over something else than an input of type texts or labels{over}")
    if not isinstance(loop.target, nodes.Name) or loop.recursive or loop.find(nodes.For) is not None:
        raise TemplateProblem(loop.lineno, "has a loop that is recursive, nested or of several variables")
    yield loop.iter.name
    one = loop.target.name
    for inner in (*loop.body, *loop.else_, *([loop.test] if loop.test is not None else [])):
        yield from (name for name in check(inner, inputs | {one}, lists - {one}) if name != one)


def check_named(node: nodes.Filter | nodes.Test) -> None:
    """A filter or test from the list, with one constant at most: more could name attributes. What makes text longer is
    not used on its own result, which would multiply.
    """
    known = ENVIRONMENT.filters if isinstance(node, nodes.Filter) else ENVIRONMENT.tests
    if node.name not in known:
        raise TemplateProblem(node.lineno, f"uses '{node.name}', which is not one of {', '.join(sorted(known))}")
    given = [*node.args, *node.kwargs, *filter(None, (node.dyn_args, node.dyn_kwargs))]
    if node.node is None or len(given) > 1 or not all(isinstance(one, nodes.Const) for one in given):
        raise TemplateProblem(node.lineno, f"gives '{node.name}' something else than one constant")
    if node.name in OF_INPUTS and not isinstance(node.node, nodes.Name):
        raise TemplateProblem(node.lineno, f"uses '{node.name}' on something else than an input as it is")
    if node.name == "join" and any(
        len(str(one.value)) > LONGEST_BETWEEN for one in given if isinstance(one, nodes.Const)
    ):
        raise TemplateProblem(node.lineno, f"joins with more than {LONGEST_BETWEEN} characters")


def listing(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "there are none"
