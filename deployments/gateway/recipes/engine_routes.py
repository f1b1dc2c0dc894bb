"""What recipes ask of engines, beside `engine.guard.TOKENS_ROUTE`."""

CHAT = b"/v1/chat/completions"
TOKENIZE = b"/tokenize"
