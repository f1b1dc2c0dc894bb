"""Chat completions and completions: an event has pieces of choices, and says itself that a choice is finished."""

from collections.abc import Hashable, Iterable, Iterator

from deployments.gateway.privacy.event_dialect import Document, Piece

DELTA_FIELDS = ("content", "reasoning", "reasoning_content", "refusal")
CALL = "call"


class ChatEvents:
    """Texts are (choice, field), and (choice, "call", number) for the arguments of a call."""

    def pieces(self, document: Document) -> Iterator[Piece]:
        for choice in choices_of(document):
            index, delta = choice.get("index"), choice.get("delta")
            if not isinstance(delta, dict):
                continue
            yield from (Piece((index, name), delta, name) for name in DELTA_FIELDS if isinstance(delta.get(name), str))
            for call in delta.get("tool_calls") or ():
                function = call.get("function")
                if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                    yield Piece((index, CALL, call.get("index")), function, "arguments", in_json=True)

    def ending(self, document: Document, held: Iterable[Hashable]) -> list[Hashable]:
        return of_finished(document, held)

    def say_rest(self, document: Document, key: Hashable, rest: str) -> None:
        index, field, *call = as_tuple(key)
        delta = choice_with(document, index)["delta"]
        if field != CALL:
            delta[field] = (delta.get(field) or "") + rest
            return
        calls = delta["tool_calls"] = delta.get("tool_calls") or []
        mine = next((one for one in calls if one.get("index") == call[0]), None)
        if mine is None:
            mine = {"index": call[0], "function": {}}
            calls.append(mine)
        mine["function"]["arguments"] = (mine["function"].get("arguments") or "") + rest


class CompletionEvents:
    """Texts are (choice,)."""

    def pieces(self, document: Document) -> Iterator[Piece]:
        for choice in choices_of(document):
            if isinstance(choice.get("text"), str):
                yield Piece((choice.get("index"),), choice, "text")

    def ending(self, document: Document, held: Iterable[Hashable]) -> list[Hashable]:
        return of_finished(document, held)

    def say_rest(self, document: Document, key: Hashable, rest: str) -> None:
        choice = choice_with(document, as_tuple(key)[0])
        choice["text"] = (choice.get("text") or "") + rest


def choices_of(document: Document) -> list[Document]:
    choices = document.get("choices")
    return choices if isinstance(choices, list) else []


def choice_with(document: Document, index: object) -> Document:
    return next(choice for choice in choices_of(document) if choice.get("index") == index)


def of_finished(document: Document, held: Iterable[Hashable]) -> list[Hashable]:
    finished = {choice.get("index") for choice in choices_of(document) if choice.get("finish_reason") is not None}
    return [key for key in held if as_tuple(key)[0] in finished]


def as_tuple(key: Hashable) -> tuple[object, ...]:
    assert isinstance(key, tuple)
    return key
