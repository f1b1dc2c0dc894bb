"""What a request and its answer say, as parts: whose words, and the words. Of media, only what they are. Pure."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import orjson

from deployments.gateway.body_rules.content import MEDIA

ASKED = ("system", "instructions", "messages", "input", "prompt", "suffix", "tokens", "token_ids")
ANSWERED = ("choices", "output", "content")
ALL_MEDIA = (*sorted(MEDIA), "input_audio", "audio", "file", "file_data", "file_id")
FIELDS = {
    "reasoning": "reasoning",
    "reasoning_content": "reasoning",
    "thinking": "reasoning",
    "summary": "reasoning",
    "message": "",
    "content": "",
    "text": "",
    "output": "",
    "refusal": "refusal",
    "function_call": "",
    "tool_calls": "",
}
KINDS_OF_TURNS = frozenset({"reasoning", "function_call_output", "tool_result"})
LONGEST_NAME = 64
MOST_TOOLS = 32
CUT = "…"


class Part(NamedTuple):
    """`of`: a role, `reasoning`, `call NAME`, a kind of medium without text, or `CUT` where something is left out."""

    of: str
    text: str = ""


def asked(document: dict[str, Any]) -> Iterator[Part]:
    """Of a request's body, as engines get it. Tools are only named; what steers the engine is not in it."""
    tools = document.get("tools")
    if isinstance(tools, list) and tools:
        yield Part("tools", ", ".join(islice(filter(None, map(tool_name, tools)), MOST_TOOLS)))
    for field in ASKED:
        yield from parts(field, document.get(field))


def answered(document: dict[str, Any]) -> Iterator[Part]:
    """Of an answer that is one document."""
    for field in ANSWERED:
        yield from parts("assistant", document.get(field))


def parts(of: str, value: Any) -> Iterator[Part]:
    if isinstance(value, str):
        if value:
            yield Part(of, value)
    elif isinstance(value, list):
        if value and type(value[0]) is int:
            yield Part(f"{of}: {len(value)} token ids")
            return
        for one in value:
            yield from parts(of, one)
    elif isinstance(value, dict):
        yield from turn(of, value)


def turn(of: str, one: dict[str, Any]) -> Iterator[Part]:
    """A message, a part of one, an item, a choice, or a block."""
    kind = one.get("type")
    of = name_in(one, "role") or (kind if isinstance(kind, str) and kind in KINDS_OF_TURNS else of)
    yield from (Part(medium) for medium in ALL_MEDIA if one.get(medium) is not None)
    call = call_in(one)
    if call is not None:
        yield call
        return
    for field, own in FIELDS.items():
        yield from parts(own or of, one.get(field))


def call_in(one: dict[str, Any]) -> Part | None:
    """A model's call of a tool, in any API's form."""
    function = one["function"] if isinstance(one.get("function"), dict) else one
    arguments = function.get("arguments", function.get("input"))
    if arguments is None or not isinstance(function.get("name"), str):
        return None
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    return Part(f"call {name_in(function, 'name')}", text)


def tool_name(tool: Any) -> str:
    if not isinstance(tool, dict):
        return ""
    function = tool.get("function")
    return name_in(function if isinstance(function, dict) else tool, "name")


def name_in(one: dict[str, Any], field: str) -> str:
    """As long as it may be."""
    name = one.get(field)
    return name[:LONGEST_NAME] if isinstance(name, str) else ""


def without_end(said: Iterable[Part], most_bytes: int) -> tuple[list[Part], bool]:
    """The first of it, in UTF-8 and with the names of its parts; and whether something was left out."""
    kept: list[Part] = []
    left = most_bytes
    for part in said:
        left -= bytes_of_name(part)
        if left < 0:
            return [*kept, Part(CUT)], True
        text = part.text[:left].encode()[:left].decode(errors="ignore")
        kept.append(part._replace(text=text))
        if len(text) < len(part.text):
            return [*kept, Part(CUT)], True
        left -= len(text.encode())
    return kept, False


def without_middle(said: Iterable[Part], most_bytes: int) -> tuple[list[Part], bool]:
    """Half of what may be kept from the beginning, and half from the end, where a conversation's last turn is."""
    whole = list(said)
    kept, is_cut = without_end(whole, most_bytes)
    if not is_cut:
        return kept, False
    begin, _ = without_end(whole, most_bytes // 2)
    ends = (Part(of, text[-most_bytes:][::-1]) for of, text in reversed(whole))
    backwards, _ = without_end(ends, most_bytes // 2)
    end = [Part(of, text[::-1]) for of, text in reversed(backwards[:-1])]
    return [*begin, *end], True


def bytes_of_name(part: Part) -> int:
    """What a part takes in JSON beside its text."""
    return len(part.of.encode()) + len(b'{"of":"","text":""},')
