"""The text engines' HTTP routes: `/v1/completions`, `/v1/chat/completions`, `/tokenize`, `/health`.

Reads a request, checks it against the engine's context and vocabulary, runs it, and writes OpenAI's JSON
(`text_answer`). Generates nothing itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from serve.engines.base import Generation, TextEngine
from serve.engines.http.server import EngineFault, EventStream, Whole, health, refusals
from serve.engines.http.text_request import ChatRequest, CompletionRequest, ContextTooShort, TokenizeRequest, parse
from serve.engines.http.text_response import Answer, ChatAnswer, CompletionAnswer, Delta, prompt_logprobs
from serve.engines.http.text_stream import TextStream
from serve.errors import openai_body
from variants.errors import InputError, UnknownName

TextRequest = CompletionRequest | ChatRequest


def build(engine: TextEngine, names: Collection[str], digest: str | None) -> Starlette:
    """The application that answers for `engine` under the model names `names`, which may change while it runs."""
    api = TextApi(engine, names, digest)
    return Starlette(
        routes=[
            health(),
            Route("/v1/completions", api.completions, methods=["POST"]),
            Route("/v1/chat/completions", api.chat, methods=["POST"]),
            Route("/tokenize", api.tokenize, methods=["POST"]),
        ],
        exception_handlers=refusals(openai_body),
    )


class TextApi:
    """The routes of one engine."""

    def __init__(self, engine: TextEngine, names: Collection[str], digest: str | None) -> None:
        self.engine, self.names, self.digest = engine, names, digest

    async def tokenize(self, request: Request) -> ASGIApp:
        asked = parse(TokenizeRequest, await request.body())
        self.check_model(asked.model)
        tokens = await self.encoded(asked.prompt, asked.add_special_tokens, "prompt")
        body = {"tokens": tokens, "count": len(tokens), "max_model_len": self.engine.context}
        return JSONResponse(body)

    async def completions(self, request: Request) -> ASGIApp:
        asked = parse(CompletionRequest, await request.body())
        self.check_model(asked.model)
        if isinstance(asked.prompt, str):
            prompt = await self.encoded(asked.prompt, asked.add_special_tokens, "prompt")
        else:
            prompt = asked.prompt
        if not prompt:
            raise InputError("empty", field="prompt", mend="at least one token")
        return self.answer(asked, prompt, "prompt", CompletionAnswer(asked.model, self.digest, len(prompt)))

    async def chat(self, request: Request) -> ASGIApp:
        asked = parse(ChatRequest, await request.body())
        self.check_model(asked.model)
        text = await asyncio.to_thread(self.engine.chat_text, [message.plain() for message in asked.messages])
        prompt = await self.encoded(text, False, "messages")
        return self.answer(asked, prompt, "messages", ChatAnswer(asked.model, self.digest, len(prompt)))

    async def encoded(self, text: str, special: bool, field: str) -> list[int]:
        """Token ids, made apart from the event loop, which has streams to feed meanwhile. A text that cannot fit,
        whatever its tokens are, is refused before: a few megabytes take a second. Raises ContextTooShort."""
        most = self.engine.context * self.engine.longest
        if len(text) > most:
            raise ContextTooShort(
                f"{len(text)} characters, more than the context of {self.engine.context} tokens can hold",
                field=field,
                mend=f"at most {self.engine.context} tokens in all, which are never more than {most} characters",
            )
        return await asyncio.to_thread(self.engine.encode, text, special=special)

    def answer(self, asked: TextRequest, prompt: list[int], field: str, answer: Answer) -> ASGIApp:
        generation = self.generation(asked, prompt, field)
        deltas = self.deltas(generation, asked.stops)
        if asked.stream:
            return EventStream(answer.frames(deltas, asked.shows_usage))
        return Whole(answer.whole(deltas))

    def generation(self, asked: TextRequest, prompt: list[int], field: str) -> Generation:
        """What the engine is to do. Raises ContextTooShort, InputError."""
        room = self.engine.context - len(prompt)
        if (asked.token_limit or 1) > room:
            raise ContextTooShort(
                f"{len(prompt)} tokens, with {asked.token_limit or 1} more to come; "
                f"the context holds {self.engine.context}",
                field=field,
                mend=f"at most {self.engine.context} in all",
            )
        self.check_ids(prompt, field)
        bias = asked.logit_bias or {}
        self.check_ids(list(bias), "logit_bias")
        return Generation(
            prompt=tuple(prompt),
            max_tokens=asked.token_limit or min(asked.default_limit, room),
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            seed=asked.seed,
            logit_bias=tuple(bias.items()),
            top_logprobs=asked.alternatives,
            ignore_eos=asked.ignore_eos,
            prompt_logprobs=asked.prompt_logprobs if isinstance(asked, CompletionRequest) else None,
            model=asked.model,
        )

    async def deltas(self, generation: Generation, stops: tuple[str, ...]) -> AsyncGenerator[Delta, None]:
        """The answer in pieces of text that may be shown."""
        stream = TextStream(self.engine.decoder(generation.prompt), stops)
        logprobs = generation.top_logprobs is not None
        async with aclosing(self.engine.generate(generation)) as batches:
            async for tokens in batches:
                delta = Delta()
                for token in tokens:
                    delta.tokens += 1
                    if not token.end:
                        delta.text += stream.push(token.id)
                    if token.prompt is not None:
                        delta.prompt = prompt_logprobs(token.prompt, self.engine.piece)
                    if logprobs:
                        delta.add_logprobs(token, self.engine.piece)
                    delta.finish, delta.stop_reason = "stop" if stream.stopped else token.finish, stream.stop
                    if delta.finish:
                        delta.text += stream.finish()
                        yield delta
                        return
                yield delta
        raise EngineFault("the engine ended an answer before its last token", mend="see its log")

    def check_model(self, name: str) -> None:
        if name not in self.names:
            raise UnknownName(f"no model {name!r} here", field="model", mend=", ".join(sorted(self.names)))

    def check_ids(self, ids: list[int], field: str) -> None:
        wrong = next((token for token in ids if not 0 <= token < self.engine.vocabulary), None)
        if wrong is not None:
            mend = f"ids from 0 to {self.engine.vocabulary - 1}"
            raise InputError(f"no token {wrong}", field=field, mend=mend)
