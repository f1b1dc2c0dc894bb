"""An engine whose model is a table: a token is a character, and what comes next depends on words of the prompt."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.guard import TOKENS_ROUTE

USER, ASSISTANT, END = (1_000_001, 1_000_002, 1_000_003)
OPENS = {"user": USER, "assistant": ASSISTANT}
OTHERWISE = -9.0


@dataclass
class ToyEngine:
    """`likes`: how much more likely (log) a beginning of the answer becomes by each word that is in the prompt.

    `thinks`: tokens that its template puts before an answer that is not there yet. `asked`: every call, in order.
    """

    likes: Mapping[str, Mapping[str, float]]
    thinks: tuple[int, ...] = ()
    asked: list[tuple[bytes, dict[str, Any]]] = field(default_factory=list)

    async def ask(self, path: bytes, document: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((path, document))
        return self._generate(document) if path == TOKENS_ROUTE else {"tokens": self._tokenize(document)}

    def reads(self) -> list[dict[str, Any]]:
        return [document for path, document in self.asked if path == TOKENS_ROUTE]

    def _tokenize(self, document: dict[str, Any]) -> list[int]:
        tokens: list[int] = []
        for message in document["messages"]:
            tokens += [OPENS[message["role"]], *map(ord, message["content"]), END]
        if document["continue_final_message"]:
            return tokens[:-1]
        return [*tokens, ASSISTANT, *self.thinks] if document["add_generation_prompt"] else tokens

    def _generate(self, document: dict[str, Any]) -> dict[str, Any]:
        tokens, sampling = document["token_ids"], document["sampling_params"]
        usage = {"prompt_tokens": len(tokens), "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}
        if "prompt_logprobs" in sampling:
            scores = [self._score(tokens, at) for at in range(len(tokens))]
            return {"usage": usage, "prompt_logprobs": scores}
        wanted, most = sampling["logprob_token_ids"], sampling["logprobs"]
        assert most == len(wanted) <= 128
        shown = {0: 0.0} | {token: self.log_prob(tokens, token) for token in wanted}
        top = [{"token_id": token, "logprob": value} for token, value in list(shown.items())[:most]]
        return {"usage": usage, "choices": [{"logprobs": {"content": [{"token_id": 0, "top_logprobs": top}]}}]}

    def _score(self, tokens: list[int], at: int) -> dict[str, Any] | None:
        told = {"logprob": self.log_prob(tokens[:at], tokens[at]), "decoded_token": text([tokens[at]])}
        return {str(tokens[at]): told} if at else None

    def log_prob(self, before: list[int], token: int) -> float:
        """As the rows of the table add up that the prompt has a word of and that go on like this."""
        begun = len(before) - 1 - before[::-1].index(ASSISTANT) if ASSISTANT in before else len(before)
        prompt, answer = text(before[:begun]), text(before[begun + 1 :])
        going_on = answer + (chr(token) if token < USER else "\n")
        rows = [row for word, row in self.likes.items() if word in prompt]
        gains = [value for row in rows for way, value in row.items() if f"{way}\n".startswith(going_on)]
        return OTHERWISE + math.fsum(gains)


def text(tokens: list[int]) -> str:
    return "".join(chr(token) for token in tokens if token < USER)
