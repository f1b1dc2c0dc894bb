"""What one request says and is answered, of a tenant that has it shown: as its engine gets and says it, so with
placeholders where personal data is taken out.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from deployments.gateway.answer_tap import LARGEST_HELD_BYTES
from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway.texts.parts import CUT, Part, answered, asked, without_end, without_middle
from deployments.gateway.texts.streamed_answer import StreamedAnswer

PROMPT_BYTES = ANSWER_BYTES = 4096


class RequestText:
    """`body`: what the engine gets. It is read when the request has ended, the events of a stream as they pass.

    Each of prompt and answer is cut to 4 KiB; an answer of more than 1 MiB that is no stream is not read at all.
    """

    def __init__(self, tenant: Tenant, path: bytes, body: bytes) -> None:
        self.tenant = tenant.name
        self.is_redacted = tenant.privacy != "off"
        self._path = path
        self._body = body
        self.answer_begins()

    def answer_begins(self) -> None:
        """Of a replica; what an earlier one began to say has not reached the client."""
        self._streamed = StreamedAnswer(self._path, ANSWER_BYTES)
        self._whole: list[bytes] = []
        self._whole_bytes = 0
        self._is_odd = False

    def hears(self, data: bytes, *, is_event_stream: bool) -> None:
        """Never raises: what an engine says goes on to the client, understood or not."""
        if not is_event_stream:
            self._whole_bytes += len(data)
            self._whole.append(data)
            if self._whole_bytes > LARGEST_HELD_BYTES:
                self._whole.clear()
        elif not self._is_odd:
            try:
                self._streamed.feed(data)
            except (AttributeError, KeyError, TypeError, ValueError):
                self._is_odd = True

    def told(self) -> bytes:
        """As JSON: `prompt` and `answer`, lists of parts with `of` and `text`, and `cut`: which are not whole."""
        prompt, prompt_is_cut = without_middle(asked(orjson.loads(self._body)), PROMPT_BYTES)
        answer, answer_is_cut = self._answer()
        is_cut = {"prompt": prompt_is_cut, "answer": answer_is_cut}
        told = {
            "prompt": [part._asdict() for part in prompt],
            "answer": [part._asdict() for part in answer],
            "cut": [name for name, cut in is_cut.items() if cut],
        }
        return orjson.dumps(told)

    def _answer(self) -> tuple[list[Part], bool]:
        if not self._whole_bytes:
            said, is_cut = self._streamed.parts()
            return ([*said, Part(CUT)], True) if self._is_odd and not is_cut else (said, is_cut)
        if not self._whole:
            return [Part(CUT)], True
        return without_end(self._read(), ANSWER_BYTES)

    def _read(self) -> Iterator[Part]:
        """Nothing of what is no document, such as one whose end never came."""
        try:
            document: Any = orjson.loads(b"".join(self._whole))
        except orjson.JSONDecodeError:
            return iter(())
        return answered(document) if isinstance(document, dict) else iter(())
