"""What the parts of messages may hold: text, and media that the request brings along."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deployments.gateway.body_rules.grammar import tools

TURNS = ("messages", "input", "system")
PARTS = ("content", "output")
MEDIA = frozenset({"image_url", "audio_url", "video_url", "file_url", "source"})
TENSORS = ("image_embeds", "audio_embeds", "video_embeds", "prompt_embeds", "image_pil")
REFUSED = {
    **dict.fromkeys(TENSORS, "serialised tensors are not taken from clients; send the media itself"),
    "uuid": "it names an entry of the engine's media cache, which all clients share; leave it out",
    "file_id": "no files are kept here; send the content itself as a data URI",
}
TOOLS = frozenset({"tool", "tools"})
REFUSED_FIELDS = frozenset(REFUSED)
DATA = "data:"
MOST_REMOTE_MEDIA = 8


@dataclass(frozen=True, slots=True)
class MediaReference:
    """A URL, and where it stands: `holder[key]`."""

    holder: dict[str, Any]
    key: str
    url: str


def parts(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Turns, their parts and parts within those. Arguments of tool calls are not among them."""
    for field in TURNS:
        left = [document[field]] if isinstance(document.get(field), list) else []
        while left:
            for one in left.pop():
                if type(one) is dict:
                    yield one
                    left += [inner for name in PARTS if type(inner := one.get(name)) is list]
                elif type(one) is list:
                    left.append(one)


def content_problem(part: dict[str, Any]) -> tuple[str, str] | None:
    """The field that a part must not have, and why."""
    kind = part.get("type")
    if isinstance(kind, str) and kind in TENSORS:
        return kind, REFUSED[kind]
    if not TOOLS.isdisjoint(part) and (problem := tools_problem(part)):
        return problem
    if REFUSED_FIELDS.isdisjoint(part):
        return None
    field = next((name for name in REFUSED if part.get(name) is not None), None)
    return (field, REFUSED[field]) if field else None


def tools_problem(part: dict[str, Any]) -> tuple[str, str] | None:
    """Of a tool that comes with a message: as `definition` of Anthropic's `tool`, or in a turn's own `tools`."""
    tool = part.get("tool")
    definition = tool.get("definition") if isinstance(tool, dict) else None
    if isinstance(definition, dict) and (problem := tools([definition])):
        return "tool", f"it {problem}"
    own = part.get("tools")
    if isinstance(own, list) and (problem := tools(own)):
        return "tools", f"it {problem}"
    return None


def media_references(part: dict[str, Any]) -> Iterator[MediaReference]:
    """Whatever the part's `type` says: engines guess it from the field that is there."""
    if MEDIA.isdisjoint(part):
        return
    for name in MEDIA:
        value = part.get(name)
        if isinstance(value, str) and name != "source":
            yield MediaReference(part, name, value)
        elif isinstance(value, dict) and isinstance(value.get("url"), str):
            yield MediaReference(value, "url", value["url"])
