"""vLLM's HTTP API over the simulated engine: the shapes clients rely on, and no more."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from engine.simulated.core import EngineFull, SimulatedEngine
from engine.simulated.metrics_text import metrics_text
from engine.simulated.parameters import Parameters, SamplingParameters, StreamOptions
from engine.simulated.timings import Timings
from engine.simulated.tokens import log_prob, rendered, text_of, token_ids
from engine.simulated.words import count_tokens, tokens_of

EMBEDDING_SIZE = 32
ROLE = b'{"index":%d,"delta":{"role":"assistant","content":""},"finish_reason":null}'


class ApiError(Exception):
    """Becomes OpenAI's error object."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SimulatedApi:
    """Routes of one simulated model."""

    def __init__(self, engine: SimulatedEngine, model: str, max_model_len: int) -> None:
        self._engine = engine
        self._model = model
        self._max_model_len = max_model_len
        self._made = 0

    def app(self) -> Starlette:
        post = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completions,
            "/v1/embeddings": self._embeddings,
            "/v1/responses": self._responses,
            "/v1/messages": self._messages,
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
            "/inference/v1/generate": self._tokens,
        }
        routes = [Route(path, handler, methods=["POST"]) for path, handler in post.items()]
        get = {"/v1/models": self._models, "/health": self._health, "/metrics": self._metrics}
        routes += [Route(path, handler) for path, handler in get.items()]
        app = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers={ApiError: _error})
        app.state.engine_client = self._engine
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        stepping = asyncio.create_task(self._engine.run())
        yield
        stepping.cancel()

    async def _chat(self, request: Request) -> Response:
        return await self._generate(request, "chat.completion", "chatcmpl-")

    async def _completions(self, request: Request) -> Response:
        return await self._generate(request, "text_completion", "cmpl-")

    async def _generate(self, request: Request, kind: str, prefix: str) -> Response:
        parameters = await self._read(request)
        identity = prefix + self._request_id(request)
        if parameters.stream:
            return StreamingResponse(self._events(parameters, identity, kind), media_type="text/event-stream")
        texts, usage, metrics = await self._finish(request, parameters, identity)
        choices = [_whole_choice(kind, index, text) for index, text in enumerate(texts)]
        return JSONResponse({**self._envelope(identity, kind), "choices": choices, "usage": usage, "metrics": metrics})

    async def _events(self, parameters: Parameters, identity: str, kind: str) -> AsyncIterator[bytes]:
        """As vLLM does, one event for all tokens of an answer that were made since the last one."""
        chunk_kind = "chat.completion.chunk" if kind == "chat.completion" else kind
        envelope = orjson.dumps(self._envelope(identity, chunk_kind))[:-1]
        options = parameters.stream_options or StreamOptions()
        answers = [self._words(parameters, choice) for choice in range(parameters.n)]
        at = [0] * len(answers)
        prompt_tokens, cached = 0, 0
        timings, lengths, is_first = Timings(), [len(answer) for answer in answers], True
        async for made, sequence in self._engine.generate(identity, parameters.text(), lengths, timings):
            prompt_tokens, cached = sequence.prompt_tokens, sequence.cached_tokens
            if is_first:
                is_first = False
                if kind == "chat.completion":
                    for index in range(parameters.n):
                        yield _event(envelope, ROLE % index, _so_far(options, prompt_tokens, 0))
            for index, words in enumerate(answers):
                if not made[index]:
                    continue
                text = orjson.dumps("".join(words[at[index] : at[index] + made[index]]))
                at[index] += made[index]
                reason = b'"length"' if at[index] == len(words) else b"null"
                yield _event(envelope, _piece(kind, index, text, reason), _so_far(options, prompt_tokens, at[index]))
        if options.include_usage:
            usage = orjson.dumps(_usage(prompt_tokens, cached, sum(at)))
            metrics = orjson.dumps(timings.metrics())
            yield b"data: " + envelope + b',"choices":[],"usage":' + usage + b',"metrics":' + metrics + b"}\n\n"
        yield b"data: [DONE]\n\n"

    async def _finish(
        self, request: Request, parameters: Parameters, identity: str
    ) -> tuple[list[str], dict[str, Any], dict[str, float]]:
        """The whole answer, what it took and how long; given up if the client leaves before it is made."""
        making = asyncio.create_task(self._whole(parameters, identity))
        leaving = asyncio.create_task(_client_left(request))
        try:
            await asyncio.wait({making, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not making.done():
                raise ApiError(499, "The client left.")
            return making.result()
        finally:
            making.cancel()
            leaving.cancel()

    async def _whole(self, parameters: Parameters, identity: str) -> tuple[list[str], dict[str, Any], dict[str, float]]:
        answers = [self._words(parameters, choice) for choice in range(parameters.n)]
        prompt_tokens = cached = 0
        timings, lengths = Timings(), [len(answer) for answer in answers]
        async for _, sequence in self._engine.generate(identity, parameters.text(), lengths, timings):
            prompt_tokens, cached = sequence.prompt_tokens, sequence.cached_tokens
        texts = ["".join(words) for words in answers]
        return texts, _usage(prompt_tokens, cached, sum(lengths)), timings.metrics()

    async def _responses(self, request: Request) -> Response:
        parameters = await self._read(request)
        identity = "resp_" + self._request_id(request)
        texts, usage, metrics = await self._finish(request, parameters, identity)
        content = [{"type": "output_text", "text": texts[0], "annotations": []}]
        item = {
            "type": "message",
            "id": f"msg_{self._made}",
            "role": "assistant",
            "status": "completed",
            "content": content,
        }
        counts = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
        document = {"id": identity, "object": "response", "created_at": int(time.time()), "status": "completed"}
        usage = {**counts, "total_tokens": usage["total_tokens"]}
        document |= {"model": self._model, "output": [item], "usage": usage}
        return JSONResponse({**document, "metrics": metrics})

    async def _messages(self, request: Request) -> Response:
        parameters = await self._read(request)
        texts, usage, _ = await self._finish(request, parameters, self._request_id(request))
        counts = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
        document = {"id": f"msg_{self._made}", "type": "message", "role": "assistant", "model": self._model}
        content = [{"type": "text", "text": texts[0]}]
        return JSONResponse({**document, "content": content, "stop_reason": "max_tokens", "usage": counts})

    async def _embeddings(self, request: Request) -> Response:
        parameters = await self._read(request)
        inputs = parameters.input if isinstance(parameters.input, list) else [parameters.text()]
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": [len(w) / 10 for w in tokens_of(str(text), 0, EMBEDDING_SIZE)],
            }
            for index, text in enumerate(inputs)
        ]
        tokens = sum(count_tokens(str(text)) for text in inputs)
        self._engine.counters.prompt_tokens += tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "model": self._model, "data": data, "usage": usage})

    async def _tokenize(self, request: Request) -> Response:
        parameters = await self._read(request)
        opens, continues = parameters.add_generation_prompt, parameters.continue_final_message
        messages = parameters.messages
        text = rendered(messages, opens_answer=opens, continues=continues) if messages else parameters.text()
        tokens = token_ids(text)
        return JSONResponse({"tokens": tokens, "count": len(tokens), "max_model_len": self._max_model_len})

    async def _detokenize(self, request: Request) -> Response:
        parameters = await self._read(request)
        return JSONResponse({"prompt": text_of(parameters.tokens or [])})

    async def _tokens(self, request: Request) -> Response:
        """Token ids in, and out, with the log-probabilities that were asked for."""
        parameters = await self._read(request)
        sampling = parameters.sampling_params
        if sampling is None or not parameters.token_ids:
            raise ApiError(400, "token_ids, sampling_params: both are needed")
        texts, usage, _ = await self._finish(request, parameters, "generate-tokens-" + self._request_id(request))
        scores = _scores(parameters.token_ids) if sampling.prompt_logprobs is not None else None
        choice = _tokens_choice(texts[0], parameters.token_ids, sampling)
        return JSONResponse({"model": self._model, "usage": usage, "prompt_logprobs": scores, "choices": [choice]})

    async def _models(self, _: Request) -> Response:
        card = {"id": self._model, "object": "model", "created": 0, "owned_by": "baryon-simulated"}
        return JSONResponse({"object": "list", "data": [{**card, "max_model_len": self._max_model_len}]})

    async def _health(self, _: Request) -> Response:
        return Response()

    async def _metrics(self, _: Request) -> Response:
        return PlainTextResponse(metrics_text(self._engine, self._model))

    async def _read(self, request: Request) -> Parameters:
        try:
            parameters = Parameters.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors()[0]
            raise ApiError(400, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from None
        needed = count_tokens(parameters.text()) + parameters.output_tokens()
        if needed > self._max_model_len:
            message = (
                f"This model's maximum context length is {self._max_model_len} tokens, and {needed} were requested."
            )
            raise ApiError(400, message)
        try:
            self._engine.check_room()
        except EngineFull:
            raise ApiError(503, "The engine is full.") from None
        return parameters

    def _words(self, parameters: Parameters, choice: int = 0) -> list[str]:
        words = tokens_of(parameters.text(), (parameters.seed or 0) + choice, parameters.output_tokens())
        stops = [parameters.stop] if isinstance(parameters.stop, str) else parameters.stop or []
        cut = next((i for i, word in enumerate(words) if any(stop and stop in word for stop in stops)), len(words))
        return words[: max(1, cut)]

    def _request_id(self, request: Request) -> str:
        self._made += 1
        return request.headers.get("x-request-id") or f"sim-{self._made}"

    def _envelope(self, identity: str, kind: str) -> dict[str, Any]:
        return {"id": identity, "object": kind, "created": int(time.time()), "model": self._model}


async def _client_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _event(envelope: bytes, choice: bytes, so_far: bytes) -> bytes:
    return b"data: " + envelope + b',"choices":[' + choice + b"]" + so_far + b"}\n\n"


def _so_far(options: StreamOptions, prompt_tokens: int, output_tokens: int) -> bytes:
    if not (options.include_usage and options.continuous_usage_stats):
        return b""
    tokens = (prompt_tokens, prompt_tokens + output_tokens, output_tokens)
    return b',"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}' % tokens


def _piece(kind: str, index: int, text: bytes, reason: bytes) -> bytes:
    content = b'"delta":{"content":' + text + b"}" if kind == "chat.completion" else b'"text":' + text
    return b'{"index":%d,' % index + content + b',"logprobs":null,"finish_reason":' + reason + b"}"


def _whole_choice(kind: str, index: int, text: str) -> dict[str, Any]:
    content = {"message": {"role": "assistant", "content": text}} if kind == "chat.completion" else {"text": text}
    return {"index": index, **content, "logprobs": None, "finish_reason": "length"}


def _tokens_choice(text: str, prompt: list[int], sampling: SamplingParameters) -> dict[str, Any]:
    made = token_ids(text)[: sampling.max_tokens]
    read = [{"token_id": token, "logprob": log_prob(prompt, token)} for token in sampling.logprob_token_ids]
    told = {"content": [{"token_id": made[0], "logprob": log_prob(prompt, made[0]), "top_logprobs": read}]}
    return {"index": 0, "token_ids": made, "logprobs": told, "finish_reason": "length"}


def _scores(prompt: list[int]) -> list[dict[str, Any] | None]:
    """Of each token of a prompt after those before it."""
    return [{str(token): {"logprob": log_prob(prompt[:at], token)}} if at else None for at, token in enumerate(prompt)]


def _usage(prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


async def _error(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, ApiError) else 500
    kind = "BadRequestError" if status == 400 else "ServiceUnavailableError"
    return JSONResponse({"error": {"message": str(error), "type": kind, "param": None, "code": status}}, status)
