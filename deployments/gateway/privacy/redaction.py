"""Takes personal data out of a request: every string of it, in the order in which a model reads them. Pure."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from typing import Any

import orjson

from deployments.gateway.body_rules.shape import is_too_deep
from deployments.gateway.errors import cannot_redact_tokens, too_many_numbers
from deployments.gateway.privacy.card_numbers import is_card
from deployments.gateway.privacy.detection import Detector
from deployments.gateway.privacy.found import Found, Kind
from deployments.gateway.privacy.media_values import is_medium
from deployments.gateway.privacy.names import KnownNames
from deployments.gateway.privacy.placeholders import Placeholders, literal_placeholders
from deployments.gateway.privacy.said import FIRST, is_said
from deployments.gateway.privacy.windows import in_windows

NOT_READ = frozenset({"model", "cache_salt", "tokens"})
JSON_IN_TEXT = "arguments"
LEAST_CARD = 10**12
NUMBER = re.compile(r"\d+")
MOST_NUMBERS = 100_000
TOKEN_FIELDS = ("prompt", "input", "tokens")


def refuse_token_ids(document: Mapping[str, Any]) -> None:
    """Raises:
    GatewayError: 400, the prompt is token ids.
    """
    for field in TOKEN_FIELDS:
        if has_token_ids(document.get(field)):
            raise cannot_redact_tokens(field)


def has_token_ids(value: Any) -> bool:
    """One list of ids, or a list of such lists among other prompts."""
    if not isinstance(value, list):
        return False
    return any(type(one) is int or (isinstance(one, list) and any(type(id_) is int for id_ in one)) for one in value)


class Redaction:
    """Of one request. `names`: of people, by the text that they were found in.

    `keeps_literals`: what already looks like a placeholder is taken for data too, so that only our own are restored.
    """

    def __init__(self, detector: Detector, names: Mapping[str, Sequence[str]], *, keeps_literals: bool) -> None:
        self._detector = detector
        self._names = names
        self._known_names = KnownNames()
        self._keeps_literals = keeps_literals
        self._placeholders = Placeholders()
        self._numbers = 0

    @property
    def values(self) -> dict[str, str]:
        """What each placeholder stands for."""
        return self._placeholders.values

    @property
    def counts(self) -> Counter[Kind]:
        return self._placeholders.counts

    def document(self, document: dict[str, Any]) -> dict[str, Any]:
        """A copy without personal data, its fields in the order they came.

        Raises:
            GatewayError: 400, to look at all of its numbers would take too long.
        """
        read = [name for name in FIRST if name in document]
        read += [name for name in document if name not in FIRST and name not in NOT_READ]
        redacted = {name: self._field(name, document[name], within_said=False) for name in read}
        return {name: redacted.get(name, value) for name, value in document.items()}

    def _field(self, field: str, value: Any, *, within_said: bool) -> Any:
        """Arguments of a call are JSON in a string: a number in them becomes a string, and it stays JSON."""
        said = is_said(field, within_said=within_said)
        inner = container_in(value) if field == JSON_IN_TEXT and isinstance(value, str) else None
        if inner is None:
            return self._value(value, said=said)
        redacted = self._value(inner, said=True)
        return value if redacted == inner else orjson.dumps(redacted).decode()

    def _value(self, value: Any, *, said: bool) -> Any:
        if isinstance(value, str):
            return self._text(value, said=said)
        if isinstance(value, dict):
            return {
                self._text(key, said=False): one if is_medium(value, key) else self._field(key, one, within_said=said)
                for key, one in value.items()
            }
        if isinstance(value, list):
            return [self._value(one, said=said) for one in value]
        if said and type(value) is int and value >= LEAST_CARD and is_card(str(value)):
            return self._placeholders.of(Kind.CARD, str(value))
        return value

    def _text(self, text: str, *, said: bool) -> str:
        parts, end = [], 0
        for one in self._found(text, said=said):
            if one.begin >= end:
                parts += [text[end : one.begin], self._placeholders.of(one.kind, text[one.begin : one.end])]
                end = one.end
        return "".join([*parts, text[end:]]) if parts else text

    def _found(self, text: str, *, said: bool) -> Iterator[Found]:
        found = [in_windows(text, self._data)]
        if self._keeps_literals:
            found.append(in_windows(text, literal_placeholders))
        if said:
            self._known_names.add(self._names.get(text, ()))
            found.append(in_windows(text, self._known_names.find))
        return merge(*found)

    def _data(self, text: str) -> list[Found]:
        self._numbers += len(NUMBER.findall(text))
        if self._numbers > MOST_NUMBERS:
            raise too_many_numbers(MOST_NUMBERS)
        return self._detector.find(text)


def container_in(text: str) -> Any:
    """The array or object that it is as JSON; None otherwise."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict | list) and not is_too_deep(value) else None
