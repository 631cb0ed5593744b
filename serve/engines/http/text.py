"""The text engines' HTTP routes: `/v1/completions`, `/v1/chat/completions`, `/tokenize`, `/health`.

Reads a request, checks it against the engine's context and vocabulary, runs it, and writes OpenAI's JSON
(`text_response`). Generates nothing itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from serve.engines.base import Generation, TextEngine, Token
from serve.engines.http.server import EngineFault, EventStream, Whole, health, refusals, see_log
from serve.engines.http.text_choices import alone, merged
from serve.engines.http.text_logprobs import Shower, prompt_logprobs
from serve.engines.http.text_request import (
    ChatRequest,
    CompletionRequest,
    TokenizeChatRequest,
    TokenizeRequest,
    parse,
)
from serve.engines.http.text_response import Answer, ChatAnswer, CompletionAnswer, Delta, join, show
from serve.engines.http.text_stream import TextStream
from serve.errors import ContextTooLong, openai_body
from variants.errors import InputError, UnknownName

TextRequest = CompletionRequest | ChatRequest
MOST_ANSWERS = 1024
"""Choices of one request, over all its prompts."""


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


@dataclass(frozen=True)
class Prompt:
    """One prompt, and the text or token ids with which an answer with `echo` begins."""

    ids: list[int]
    echoed: str | list[int] = ""


class TextApi:
    """The routes of one engine."""

    def __init__(self, engine: TextEngine, names: Collection[str], digest: str | None) -> None:
        self.engine, self.names, self.digest = engine, names, digest

    async def tokenize(self, request: Request) -> ASGIApp:
        body = await request.body()
        chat = b'"messages"' in body and b'"prompt"' not in body
        asked = parse(TokenizeChatRequest, body) if chat else parse(TokenizeRequest, body)
        self.check_model(asked.model)
        if isinstance(asked, TokenizeRequest):
            tokens = await self.encoded(asked.prompt, asked.add_special_tokens, "prompt")
        else:
            tokens = await self.conversation(asked)
        strings = [show(self.engine.piece(token)) for token in tokens] if asked.return_token_strs else None
        document = {"tokens": tokens, "count": len(tokens), "max_model_len": self.engine.context, "token_strs": strings}
        return JSONResponse(document)

    async def completions(self, request: Request) -> ASGIApp:
        asked = parse(CompletionRequest, await request.body())
        self.check_model(asked.model)
        prompts = []
        for prompt in asked.prompts:
            ids = await self.encoded(prompt, asked.add_special_tokens, "prompt") if isinstance(prompt, str) else prompt
            prompts.append(Prompt(self.cut(ids, asked), prompt if asked.echo else ""))
        return self.answer(asked, prompts, "prompt", CompletionAnswer)

    async def chat(self, request: Request) -> ASGIApp:
        asked = parse(ChatRequest, await request.body())
        self.check_model(asked.model)
        ids = await self.conversation(asked)
        last = asked.messages[-1]
        echoed = last.text if asked.echo and last.role == "assistant" else ""
        return self.answer(asked, [Prompt(self.cut(ids, asked), echoed)], "messages", ChatAnswer)

    async def conversation(self, asked: ChatRequest | TokenizeChatRequest) -> list[int]:
        """The token ids of a chat."""
        text = await asyncio.to_thread(
            self.engine.chat_text,
            [message.plain() for message in asked.messages],
            begin=asked.add_generation_prompt,
            proceed=asked.continue_final_message,
        )
        return await self.encoded(text, asked.add_special_tokens, "messages")

    def cut(self, prompt: list[int], asked: TextRequest) -> list[int]:
        """The last tokens of a prompt, as many as are asked for."""
        most = asked.truncate_prompt_tokens
        if most is None or most == 0:
            return prompt
        return prompt[-(self.engine.context - (asked.token_limit or 1) if most == -1 else most) :]

    async def encoded(self, text: str, special: bool, field: str) -> list[int]:
        """Token ids, made apart from the event loop, which has streams to feed meanwhile. A text that cannot fit,
        whatever its tokens are, is refused before: a few megabytes take a second. Raises ContextTooLong."""
        most = self.engine.context * self.engine.longest
        if len(text) > most:
            raise ContextTooLong(
                f"{len(text)} characters, more than the context of {self.engine.context} tokens can hold",
                field=field,
                mend=f"at most {self.engine.context} tokens in all, which are never more than {most} characters",
            )
        return await asyncio.to_thread(self.engine.encode, text, special=special)

    def answer(self, asked: TextRequest, prompts: list[Prompt], field: str, kind: type[Answer]) -> ASGIApp:
        each = asked.choices
        if each * len(prompts) > MOST_ANSWERS:
            raise InputError(f"{each * len(prompts)} answers", field="n", mend=f"at most {MOST_ANSWERS} a request")
        sources = []
        for prompt in prompts:
            generation, echoed = self.generation(asked, prompt.ids, field), self.echoed(prompt, field)
            for choice in range(each):  # a seed gives each choice a seed of its own
                seed = None if generation.seed is None else generation.seed + choice
                sources.append(self.deltas(replace(generation, seed=seed), asked, echoed))
        ids = [prompt.ids for prompt in prompts]
        answer = kind(asked.model, self.digest, ids, each, bool(asked.return_token_ids), asked.shows_usage_always)
        deltas = merged(sources) if len(sources) > 1 else alone(sources[0])
        if asked.stream:
            return EventStream(answer.frames(deltas, asked.shows_usage))
        return Whole(answer.whole(deltas))

    def echoed(self, prompt: Prompt, field: str) -> str:
        """The text before the answer. Raises InputError for a token that the engine does not know."""
        if isinstance(prompt.echoed, str):
            return prompt.echoed
        self.check_ids(prompt.echoed, field)
        return join([self.engine.piece(token) for token in prompt.echoed])

    def generation(self, asked: TextRequest, prompt: list[int], field: str) -> Generation:
        """What the engine is to do. Raises ContextTooLong, InputError."""
        room = self.engine.context - len(prompt)
        if (asked.token_limit or 0) > self.engine.context:
            raise InputError(
                f"{asked.token_limit} tokens; the context holds {self.engine.context}",
                field=asked.limit_name,
                mend=f"less than {self.engine.context}",
            )
        if (asked.token_limit or 1) > room:
            raise ContextTooLong(
                f"{len(prompt)} tokens, with {asked.token_limit or 1} more to come; "
                f"the context holds {self.engine.context}",
                field=field,
                mend=f"at most {self.engine.context} in all",
            )
        self.check_ids(prompt, field)
        bias, allowed = asked.logit_bias or {}, asked.allowed_token_ids or []
        self.check_ids(list(bias), "logit_bias")
        self.check_ids(allowed, "allowed_token_ids")
        return Generation(
            prompt=tuple(prompt),
            max_tokens=1 if asked.token_limit == 0 else asked.token_limit or min(asked.default_limit, room),
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            seed=asked.seed,
            logit_bias=tuple(bias.items()),
            top_logprobs=asked.alternatives,
            ignore_eos=asked.ignore_eos,
            prompt_logprobs=asked.prompt_alternatives,
            min_tokens=asked.min_tokens,
            stop_ids=tuple(asked.stop_token_ids or ()),
            allowed=tuple(allowed),
            schema=asked.schema_asked,
            wordings=asked.wordings,
        )

    async def deltas(self, generation: Generation, asked: TextRequest, echoed: str) -> AsyncGenerator[Delta, None]:
        """One choice in pieces of text that may be shown. Of an answer of 0 tokens the engine makes one, as vLLM does,
        which is counted and not shown."""
        stream = TextStream(self.engine.decoder(generation.prompt), asked.stops, asked.include_stop_str_in_output)
        shower = Shower(self.engine.piece, bool(asked.return_tokens_as_token_ids))
        hidden, first = asked.token_limit == 0, True
        async with aclosing(self.engine.generate(generation)) as batches:
            async for tokens in batches:
                delta = Delta()
                if first:
                    delta = self.beginning(generation, tokens[0], asked, echoed, shower)
                    first = False
                for token in tokens:
                    self.take(delta, token, stream, asked, shower, hidden)
                    if delta.finish:
                        yield delta
                        return
                yield delta
        raise EngineFault("the engine ended an answer before its last token", mend=see_log())

    def beginning(self, generation: Generation, token: Token, asked: TextRequest, echoed: str, shower: Shower) -> Delta:
        """What comes before the first token: the prompt's own tokens, where they are asked for."""
        delta = Delta(text=echoed)
        if token.prompt is not None:
            delta.prompt = None if asked.stream else prompt_logprobs(token.prompt, self.engine.piece)
            if asked.echo and isinstance(asked, CompletionRequest) and asked.logprobs is not None:
                delta.logprobs = shower.echoed(generation.prompt, token.prompt)
        return delta

    def take(
        self, delta: Delta, token: Token, stream: TextStream, asked: TextRequest, shower: Shower, hidden: bool
    ) -> None:
        """Add one token to a delta. Unless `hidden` it is shown."""
        delta.tokens += 1
        delta.ids.append(token.id)
        if hidden:
            delta.finish = "length"
            return
        named = token.id in (asked.stop_token_ids or ())
        if not token.end or (named and asked.include_stop_str_in_output):
            delta.text += stream.push(token.id)
        if asked.alternatives is not None:
            delta.logprobs = [*(delta.logprobs or []), shower.new(token)]
        delta.finish = "stop" if stream.stopped else token.finish
        delta.stop_reason = stream.stop or (token.id if token.end and named else None)
        if delta.finish:
            delta.text += stream.finish()

    def check_model(self, name: str) -> None:
        if name not in self.names:
            raise UnknownName(f"no model {name!r} here", field="model", mend=", ".join(sorted(self.names)))

    def check_ids(self, ids: Sequence[int], field: str) -> None:
        wrong = next((token for token in ids if not 0 <= token < self.engine.vocabulary), None)
        if wrong is not None:
            mend = f"ids from 0 to {self.engine.vocabulary - 1}"
            raise InputError(f"no token {wrong}", field=field, mend=mend)
