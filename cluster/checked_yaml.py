"""Reads a YAML file against a schema so that every error names the line, the key, what was expected and the nearest
valid name.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarstring import FoldedScalarString, LiteralScalarString

Location = tuple[int | str, ...]
Schema = TypeVar("Schema", bound=BaseModel)


class ConfigError(Exception):
    """One line per problem, each beginning with `file:line:`."""


def load_yaml(path: Path, schema: type[Schema]) -> Schema:
    """Raises:
    ConfigError: the file cannot be read, is not YAML, or says something that the schema does not know.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse_yaml(text, str(path), schema)


def parse_yaml(text: str, name: str, schema: type[Schema]) -> Schema:
    """Raises:
    ConfigError: see `load_yaml`.
    """
    try:
        document = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: {error.problem or error.context}") from error
    except (YAMLError, ValueError, LookupError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{name}:1: not YAML: {str(error).splitlines()[0] if str(error) else error!r}") from error
    if not isinstance(document, CommentedMap):
        wanted = next(key for key, field in schema.model_fields.items() if field.is_required())
        raise ConfigError(f"{name}:1: expected a mapping with the key `{wanted}`, got {_kind(document)}")
    try:
        return schema.model_validate(_plain(document))
    except ValidationError as error:
        lines = [_explain(detail, document, name, schema) for detail in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def line_of(text: str, location: Location, line_within: int = 1) -> int:
    """Of a value in a file that is YAML, or of a line within a text of several lines; counted from 1."""
    document = YAML(typ="rt").load(text)
    line, value = _line(document, location), document
    for part in location:
        value = value[part]
    is_block = isinstance(value, LiteralScalarString | FoldedScalarString)
    return line + line_within - (0 if is_block else 1)


def _explain(detail: ErrorDetails, document: CommentedMap, name: str, schema: type[BaseModel]) -> str:
    location = detail["loc"]
    where = f"{name}:{_line(document, location)}: {_path(location)}"
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _valid_keys(schema, location[:-1]), n=1)
        return f"{where}: unknown key" + (
            f"; did you mean {near[0]}?" if near else f"; {_listing(schema, location[:-1])}"
        )
    if detail["type"] == "missing":
        return f"{where}: missing"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}: {message[:1].lower()}{message[1:]}, got {_short(detail['input'])}"


def _line(document: Any, location: Location) -> int:
    """The line of the deepest part of `location` that stands in the file, counted from 1."""
    line, node = 1, document
    for part in location:
        try:
            if isinstance(node, CommentedMap):
                line = node.lc.key(part)[0] + 1
            elif isinstance(node, CommentedSeq):
                line = node.lc.item(part)[0] + 1
            node = node[part]
        except (KeyError, IndexError, TypeError, AttributeError):
            break
    return line


def _path(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the file"


def _valid_keys(schema: type[BaseModel], location: Location) -> list[str]:
    """The keys that the section at `location` knows."""
    section = schema
    for part in location:
        if isinstance(part, str):
            section = _section_of(section.model_fields[part].annotation)
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel]:
    options = [argument for argument in get_args(annotation) if argument is not NoneType] or [annotation]
    return options[0]  # type: ignore[no-any-return]


def _listing(schema: type[BaseModel], location: Location) -> str:
    return "valid keys: " + ", ".join(_valid_keys(schema, location))


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _kind(document: object) -> str:
    return "nothing" if document is None else "a list" if isinstance(document, list) else "a single value"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
