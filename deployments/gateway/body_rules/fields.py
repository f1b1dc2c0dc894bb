"""Which fields each route takes, and within which limits. What is not here does not reach an engine.

OpenAI's and Anthropic's own parameters (the engine passes over what it has no use for), and of vLLM's what it documents
for sampling, templates and structured outputs. `docs/configuration.md` has the limits.
"""

from deployments.gateway.body_rules.grammar import MOST_TOOLS, response_format, structured_outputs, tools, with_format
from deployments.gateway.body_rules.values import (
    ANYTHING,
    FLAG,
    Value,
    biases,
    flag_or_whole,
    items,
    number,
    scalars,
    text,
    texts,
    tokens,
    whole,
)

INT64 = 2**63 - 1
MOST_TOKENS = 10_000_000
MOST_TURNS = 4096
MOST_INPUTS = 2048
MOST_CHOICES = 1024
MOST_LOGPROBS = 20
OBJECT = {"type": "object"}

LIMITS: dict[str, Value] = {
    "add_generation_prompt": FLAG,
    "add_special_tokens": FLAG,
    "allowed_token_ids": tokens(4096),
    "bad_words": texts(64, 128),
    "best_of": whole(1, MOST_CHOICES),
    "chat_template_kwargs": scalars(
        16,
        256,
        *("chat_template", "conversation", "continue_final_message", "documents", "max_length", "messages", "padding"),
        *("return_assistant_tokens_mask", "return_dict", "return_tensors", "tokenize", "tokenizer_kwargs", "tools"),
        "truncation",
    ),
    "continue_final_message": FLAG,
    "dimensions": whole(1, 65_536),
    "echo": FLAG,
    "frequency_penalty": number(-2, 2),
    "ignore_eos": FLAG,
    "include_reasoning": FLAG,
    "include_stop_str_in_output": FLAG,
    "input": items(MOST_TURNS, "string"),
    "logit_bias": biases(1024),
    "logprobs": flag_or_whole(0, MOST_LOGPROBS),
    "max_completion_tokens": whole(0, MOST_TOKENS),
    "max_output_tokens": whole(0, MOST_TOKENS),
    "max_tokens": whole(0, MOST_TOKENS),
    "messages": items(MOST_TURNS),
    "min_p": number(0, 1),
    "min_tokens": whole(0, 8192),
    "n": whole(1, MOST_CHOICES),
    "output_config": Value(with_format, OBJECT),
    "presence_penalty": number(-2, 2),
    "prompt": items(MOST_TOKENS, "string"),
    "repetition_penalty": number(0.01, 10),
    "response_format": Value(response_format, OBJECT),
    "return_token_ids": FLAG,
    "return_token_strs": FLAG,
    "return_tokens_as_token_ids": FLAG,
    "seed": whole(-INT64 - 1, INT64),
    "skip_special_tokens": FLAG,
    "spaces_between_special_tokens": FLAG,
    "stop": texts(16, 256),
    "stop_sequences": texts(16, 256),
    "stop_token_ids": tokens(128),
    "structured_outputs": Value(structured_outputs, OBJECT),
    "temperature": number(0, 100),
    "text": Value(with_format, OBJECT),
    "thinking_token_budget": whole(-1, MOST_TOKENS),
    "tokens": tokens(MOST_TOKENS),
    "tools": Value(tools, {"type": "array", "items": OBJECT, "maxItems": MOST_TOOLS}),
    "top_k": whole(-1, MOST_TOKENS),
    "top_logprobs": whole(0, MOST_LOGPROBS),
    "top_p": number(0, 1),
    "truncate_prompt_tokens": whole(-1, MOST_TOKENS),
    "user": text(1024),
}
EVERYWHERE = {"model", "stream", "user"}
SAMPLING = {
    *("frequency_penalty", "ignore_eos", "include_stop_str_in_output", "logit_bias", "min_p", "presence_penalty"),
    *("repetition_penalty", "seed", "skip_special_tokens", "stop", "stop_token_ids", "structured_outputs"),
    *("temperature", "top_k", "top_p"),
}
GENERATION = SAMPLING | {
    *(
        "add_special_tokens",
        "allowed_token_ids",
        "bad_words",
        "best_of",
        "echo",
        "logprobs",
        "max_tokens",
        "min_tokens",
    ),
    *("n", "response_format", "return_token_ids", "return_tokens_as_token_ids", "spaces_between_special_tokens"),
    *("stream_options", "thinking_token_budget", "truncate_prompt_tokens", "truncation_side"),
}
TEMPLATE = {
    *("add_generation_prompt", "add_special_tokens", "chat_template_kwargs", "continue_final_message", "messages"),
    "tools",
}
OPENAIS_OWN = {
    *("metadata", "moderation", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention"),
    *("safety_identifier", "service_tier", "store", "tool_choice", "tools", "verbosity"),
}
CHAT = {
    *("audio", "function_call", "functions", "include_reasoning", "max_completion_tokens", "modalities", "prediction"),
    *("reasoning_effort", "top_logprobs", "web_search_options"),
}
RESPONSES = {
    *("background", "chat_template_kwargs", "context_management", "conversation", "include", "include_reasoning"),
    *("input", "instructions", "max_output_tokens", "max_tool_calls", "previous_response_id", "reasoning"),
    *("stream_options", "text", "top_logprobs", "truncation"),
}
MESSAGES = {
    *("cache_control", "chat_template_kwargs", "context_management", "inference_geo", "max_tokens", "messages"),
    *("metadata", "output_config", "service_tier", "stop_sequences", "system", "temperature", "thinking"),
    *("tool_choice", "tools", "top_k", "top_p"),
}
EMBEDDINGS = {
    *(
        "dimensions",
        "embed_dtype",
        "encoding_format",
        "endianness",
        "input",
        "truncate_prompt_tokens",
        "truncation_side",
    ),
}
ROUTES: dict[bytes, dict[str, Value]] = {
    path: {name: LIMITS.get(name, ANYTHING) for name in sorted(EVERYWHERE | names)}
    for path, names in {
        b"/v1/chat/completions": GENERATION | TEMPLATE | OPENAIS_OWN | CHAT,
        b"/v1/completions": GENERATION | {"prompt", "suffix"},
        b"/v1/responses": SAMPLING | OPENAIS_OWN | RESPONSES,
        b"/v1/messages": MESSAGES,
        b"/v1/embeddings": EMBEDDINGS | TEMPLATE - {"tools"},
        b"/tokenize": TEMPLATE | {"prompt", "return_token_strs"},
        b"/detokenize": {"tokens"},
    }.items()
}
TEMPLATES_ARE_THE_OPERATORS = "a template is a program; the operator sets it in the model's engine_args"
REFUSED = {
    "cache_salt": "the gateway sets it, so that nobody can find out what others have in the prefix cache",
    "chat_template": TEMPLATES_ARE_THE_OPERATORS,
    "documents": TEMPLATES_ARE_THE_OPERATORS + ", and what it reads is 'messages' and 'tools'",
    "ec_transfer_params": "it directs transfers between engines",
    "kv_transfer_params": "it directs transfers between engines",
    "logprob_token_ids": "use 'top_logprobs'",
    "media_io_kwargs": "how media are decoded is the operator's to say",
    "mm_processor_kwargs": "how media are decoded is the operator's to say",
    "priority": "who goes first is the operator's to say",
    "prompt_embeds": "serialised tensors are not taken from clients; send text or token ids",
    "prompt_logprobs": "it computes the whole prompt anew, cached or not",
    "request_id": "the gateway names requests; put yours in the header x-request-id",
    "use_beam_search": "it occupies an engine for as many sequences as it is wide, at every step",
    "vllm_xargs": "it reaches into the engine",
    **{
        f"guided_{what}": "vLLM no longer knows it and would answer unconstrained; use 'structured_outputs'"
        for what in ("json", "regex", "choice", "grammar", "decoding_backend", "whitespace_pattern")
    },
}
