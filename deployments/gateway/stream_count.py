"""How many tokens of a stream have been passed on. Events are not tokens: an engine puts several into one, or none."""

import re

from deployments.gateway.spent import Spent

USAGE_SO_FAR = b'"usage":{'
PROMPT = re.compile(rb'"prompt_tokens":(\d+)')
OUTPUT = re.compile(rb'"completion_tokens":(\d+)')
CHOICE = re.compile(
    rb'"choices":\[\{"index":(\d+)[^\n]*?"usage":\{"prompt_tokens":(\d+)[^\n]*?"completion_tokens":(\d+)'
)
DELTA = re.compile(rb"^event: [\w.]*delta\r?$", re.MULTILINE)


class StreamCount:
    """Reads only when asked: of a stream with one choice, the last event has it all.

    `choices` for each of `prompts`: the engine says of each event what its choice has come to.
    """

    def __init__(self, prompts: int, choices: int) -> None:
        self._choices = choices
        self._is_single = prompts * choices == 1
        self._last = b""
        self._prompts: dict[int, int] = {}
        self._outputs: dict[int, int] = {}

    def passed(self, events: bytes) -> None:
        """Whole events that say usage went to the client."""
        if self._is_single:
            self._last = events
            return
        for index, prompt, output in CHOICE.findall(events):
            self._prompts[int(index) // self._choices] = int(prompt)
            self._outputs[int(index)] = int(output)

    def spent(self) -> Spent:
        if self._is_single and self._last:
            usage = self._last[self._last.rfind(USAGE_SO_FAR) :]
            prompt, output = PROMPT.search(usage), OUTPUT.search(usage)
            if prompt and output:
                self._prompts[0], self._outputs[0] = int(prompt[1]), int(output[1])
            self._last = b""
        return Spent(sum(self._prompts.values()), 0, sum(self._outputs.values()))


class DeltaCount:
    """Of dialects that tell no usage on the way (`/v1/responses`, `/v1/messages`): an event with text is a token."""

    def __init__(self) -> None:
        self._deltas = 0

    def passed(self, events: bytes) -> None:
        self._deltas += len(DELTA.findall(events))

    def spent(self) -> Spent:
        return Spent(output_tokens=self._deltas)
