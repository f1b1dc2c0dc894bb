"""`GET /v1/recipes`, `GET` and `POST /v1/recipes/{name}`: which recipes there are, and one of them used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deployments.gateway.answer import Answer
from deployments.gateway.answer_tap import AnswerTap, NewTap
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.errors import GatewayError
from deployments.gateway.for_client import for_client
from deployments.gateway.recipes.chooser import Chooser
from deployments.gateway.recipes.chosen import chosen
from deployments.gateway.recipes.decoded import Decoded
from deployments.gateway.recipes.engine_routes import CHAT
from deployments.gateway.recipes.explained import explained_input
from deployments.gateway.recipes.generate import generate, stream
from deployments.gateway.recipes.inner_calls import Engines, InnerCalls, Origin
from deployments.gateway.recipes.inputs import inputs_schema
from deployments.gateway.recipes.long_text import fitting
from deployments.gateway.recipes.recipe import Recipe
from deployments.gateway.recipes.recipe_answer import answer_document
from deployments.gateway.recipes.recipe_call import RecipeCall, call_of, model_for, read_document, recipe_named
from deployments.gateway.recipes.recipe_file import ReadyRecipe
from deployments.gateway.recipes.restored_answer import check_restored, restored_answer
from deployments.gateway.recipes.schema_check import SchemaCheck
from deployments.gateway.recipes.shelf import Shelf
from deployments.gateway.recipes.structured import schema_of, structured
from deployments.gateway.recipient import Recipient
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.stages import ENGINE
from deployments.gateway.tenants.tenant import Tenant

if TYPE_CHECKING:
    from deployments.gateway.privacy.redactor import Redacted, Redactor

ROUTE = b"/v1/recipes"
ONE = b"/v1/recipes/"
EXPLAIN_HEADER = b"x-baryon-explain"
SAID = "input"


class RecipeRoutes:
    """`models`: names of those that a tenant may use, which are all that it learns of; `check_model` raises a
    GatewayError for another. Of a model, as far as known: `context_tokens`, and `version`, of what serves it now.
    `redactor`: see `RequestReader`.
    """

    def __init__(
        self,
        engines: Engines,
        settings: Callable[[], GatewaySettings],
        models: Callable[[Tenant], list[str]],
        check_model: Callable[[str, Tenant], object],
        context_tokens: Callable[[str], int | None],
        version: Callable[[str], Hashable],
        redactor: Callable[[], Redactor],
    ) -> None:
        self._engines = engines
        self._settings = settings
        self._models = models
        self._check_model = check_model
        self._context_tokens = context_tokens
        self._chooser = Chooser(version)
        self._redactor = redactor
        self._check = SchemaCheck()
        self.shelf = Shelf(lambda: settings().recipes_folder)

    def tell(self, path: bytes, tenant: Tenant) -> dict[str, Any]:
        """Raises:
        GatewayError: 404, there is no such recipe, or its file is refused.
        """
        if path != ROUTE:
            return self._card(self._named(path).recipe, tenant)
        cards = [self._card(ready.recipe, tenant) for ready in self.shelf.recipes.values()]
        refused = [{"name": name, "problem": problem} for name, problem in self.shelf.refused.items()]
        return {"object": "list", "data": cards, "refused": refused}

    async def run(self, request: ClientRequest, tenant: Tenant, answer: Answer) -> None:
        """What goes wrong after the head of a stream is told in it.

        Raises:
            GatewayError: what is wrong with the call, or went wrong with a part of it; 504, it took too long.
        """
        record, response = answer.record, answer.response
        size_bytes = len(request.body)
        asked = self._read(request, tenant)
        call, redacted = await self._without_personal_data(asked, tenant, response, size_bytes)
        if redacted is not None:
            response.also.append(redacted.header())
        record.path, record.recipe = f"/v1/recipes/{call.recipe.name}", call.recipe.name
        record.model = call.model
        record.stream = call.stream
        if record.trace is not None:
            request.headers |= record.trace.below()
        calls = InnerCalls(self._engines, request, tenant, Origin(record.request_id, call.recipe.name))
        response.on_gone = calls.leave
        if response.client_is_gone:
            calls.leave()
        record.stages.enter(ENGINE)
        try:
            if call.stream:
                await self._stream(calls, call, answer, redacted.new_tap(CHAT) if redacted is not None else AnswerTap)
                return
            async with time_for(call):
                decoded = await self._decode(calls, call, tenant)
        finally:
            calls.leave()
            response.on_gone = None
            record.parts = calls.begun
            if not response.started:
                response.also += calls.rate_headers
        restoration = redacted.restoration if redacted is not None else None
        if restoration is not None and asked.recipe.output.kind == "json":
            await check_restored(self._check, restoration, decoded.output, schema_of(asked))
        record.outcome = "completed"
        explains = request.headers.get(EXPLAIN_HEADER) == b"1"
        if explains or any(one.usage is None for one in calls.ended):
            await calls.settled()
        document = answer_document(record.request_id, call, decoded, calls.ended, explains=explains)
        answer.tell(restored_answer(document, restoration) if restoration is not None else document)

    async def _without_personal_data(
        self, call: RecipeCall, tenant: Tenant, response: Recipient, size_bytes: int
    ) -> tuple[RecipeCall, Redacted | None]:
        """Once for all that the recipe asks. What an operator wrote into it is not looked through."""
        if tenant.privacy == "off":
            return call, None
        redacting = self._redactor().redact({SAID: dict(call.values)}, tenant.privacy, size_bytes)
        redacted = await for_client(response, redacting)
        return replace(call, values=redacted.document[SAID]), redacted

    async def _decode(self, calls: InnerCalls, call: RecipeCall, tenant: Tenant) -> Decoded:
        match call.recipe.output.kind:
            case "json":
                return await structured(calls, call, self._check)
            case "choose":
                return await chosen(self._chooser, calls, call, tenant.name)
            case "generate":
                return await generate(calls, call, self._context_tokens(call.model))

    async def _stream(self, calls: InnerCalls, call: RecipeCall, answer: Answer, new_tap: NewTap) -> None:
        async with time_for(call):
            messages, _ = await fitting(calls, call, self._context_tokens(call.model), answer.say)
        await stream(calls, call, messages, answer.response, new_tap)

    def _read(self, request: ClientRequest, tenant: Tenant) -> RecipeCall:
        settings = self._settings()
        ready = self._named(request.path)
        document = read_document(request.body)
        request.body = b""
        by_default = [name for name in (ready.recipe.defaults.model, settings.recipes_model) if name]
        model = document.get("model") or model_for(filter(tenant.may_use, by_default), self._models(tenant))
        self._check_model(model, tenant)
        call = call_of(ready, document, model, self._context_tokens(model), settings.max_body_bytes)
        if call.explain is not None:
            explained_input(call)
        return call

    def _named(self, path: bytes) -> ReadyRecipe:
        name = path.removeprefix(ONE).decode("utf-8", "replace")
        return recipe_named(name, self.shelf.recipes, self.shelf.refused)

    def _card(self, recipe: Recipe, tenant: Tenant) -> dict[str, Any]:
        """What callers may know: how it is used, not how its prompt goes, nor a model that is not for them."""
        output, model = recipe.output, recipe.defaults.model
        hidden = {"model"} if model is not None and not tenant.may_use(model) else set()
        fixed = {"labels": output.labels, "json_schema": output.json_schema}
        return {
            "name": recipe.name,
            "object": "recipe",
            "about": recipe.about,
            "source": "operator" if self.shelf.is_own(recipe.name) else "shipped",
            "output": {"kind": output.kind, **{name: value for name, value in fixed.items() if value is not None}},
            "streams": output.kind == "generate",
            "inputs": inputs_schema(recipe.inputs),
            "defaults": recipe.defaults.model_dump(exclude_none=True, exclude=hidden),
            "limits": recipe.limits.model_dump(),
        }


@asynccontextmanager
async def time_for(call: RecipeCall) -> AsyncIterator[None]:
    """Raises:
    GatewayError: 504, what is within took longer than the recipe may.
    """
    limit_s = call.recipe.limits.timeout_s
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError:
        message = f"The recipe '{call.recipe.name}' was not done in the {limit_s:g} s that it may take."
        raise GatewayError(504, "recipe_timeout", message) from None
