"""Media come with the request, and nothing in a message reaches beside it."""

from typing import Any

import pytest

from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.test_body_rules import CHAT, MESSAGES, RESPONSES, refusal, sent_on

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def asking(part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}]}


REMOTE = [
    "http://example.com/a.png",
    "https://example.com/a.png",
    "http://169.254.169.254/latest/meta-data/",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "//example.com/a.png",
    "/etc/passwd",
    " data:image/png;base64,AAAA",
    "http:data:image/png",
    "",
]


@pytest.mark.parametrize("url", REMOTE)
def test_a_url_of_media_is_refused(url: str) -> None:
    for part in (
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "input_audio", "audio_url": url},
        {"video_url": {"url": url}},
        {"type": "text", "text": "a", "image_url": url},
    ):
        assert "data: URI" in refusal(CHAT, asking(part)).message
    assert refusal(RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]})
    assert refusal(RESPONSES, {"input": [{"type": "function_call_output", "output": [{"image_url": url}]}]})
    image = {"type": "image", "source": {"type": "url", "url": url}}
    assert refusal(MESSAGES, asking(image))
    assert refusal(MESSAGES, asking({"type": "tool_result", "tool_use_id": "1", "content": [image]}))
    assert refusal(MESSAGES, {"system": [image]})


@pytest.mark.parametrize("url", [PIXEL, PIXEL.replace("data", "DATA")])
def test_a_data_uri_goes_through(url: str) -> None:
    assert sent_on(CHAT, asking({"type": "image_url", "image_url": {"url": url}}))
    assert sent_on(CHAT, asking({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}))
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    assert sent_on(MESSAGES, asking({"type": "image", "source": source}))


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"type": "image_embeds", "image_embeds": "AAAA"}, "image_embeds"),
        ({"type": "text", "text": "a", "image_embeds": {"x": "AAAA"}}, "image_embeds"),
        ({"audio_embeds": "AAAA"}, "audio_embeds"),
        ({"video_embeds": "AAAA"}, "video_embeds"),
        ({"type": "prompt_embeds", "data": "AAAA"}, "prompt_embeds"),
        ({"image_pil": "AAAA"}, "image_pil"),
        ({"type": "image_url", "image_url": {"url": PIXEL}, "uuid": "someone-elses-image"}, "uuid"),
        ({"type": "image_url", "image_url": None, "uuid": "someone-elses-image"}, "uuid"),
        ({"type": "input_image", "file_id": "file-1"}, "file_id"),
    ],
)
def test_tensors_and_names_in_the_engines_cache_are_refused(part: Any, field: str) -> None:
    error = refusal(CHAT, asking(part))
    assert (error.param, error.code) == (field, "unsupported_parameter")


def test_tools_that_come_with_a_message_are_looked_at_as_all_others() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "(a+)+"}}}
    named = {"name": "f", "input_schema": schema}
    added = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": named}}
    system = {"messages": [{"role": "system", "content": [added]}, {"role": "user", "content": "Hi"}]}
    assert "input_schema has a pattern" in refusal(MESSAGES, system).message
    own = {"role": "developer", "content": "Hi", "tools": [{"type": "function", "function": {"parameters": schema}}]}
    assert "parameters has a pattern" in refusal(CHAT, {"messages": [own]}).message
    named["input_schema"] = {"type": "object"}
    assert sent_on(MESSAGES, system)


def test_arguments_of_tool_calls_are_nobodys_affair() -> None:
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {"uuid": "1", "image_url": "http://example.com"}}
    assert sent_on(MESSAGES, {"messages": [{"role": "assistant", "content": [call]}]})


ALLOWING = GatewaySettings(media_hosts=["images.example.com"])


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example.com/a.png",
        "https://images.example.com:8443/a.png",
        "https://images.example.com@evil.com/a.png",
        "https://evil.com/images.example.com",
        "https://evil.com#images.example.com",
        "https://evil.com\\@images.example.com/",
        "https://images.example.com.evil.com/",
        "https://images.example.com./a.png",
        "https://user:secret@images.example.com/a.png",
        "https://images.example.com:99999/",
        "https://[::1]/",
        "https://",
        "file://images.example.com/etc/passwd",
    ],
)
def test_only_hosts_that_the_operator_allows_are_ever_asked(url: str) -> None:
    assert "operator allows" in refusal(CHAT, asking({"image_url": {"url": url}}), ALLOWING).message


def test_a_request_names_few_of_them() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://images.example.com/a.png"}}
    assert "At most 8" in refusal(CHAT, {"messages": [{"role": "user", "content": [part] * 9}]}, ALLOWING).message
