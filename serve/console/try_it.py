"""The page that sends one prompt to all variants of a model at once, and shows their answers side by side."""

import asyncio
import difflib
import json
import shlex
import time
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from serve.console.api_client import Reply, message_of
from serve.console.forms import Form
from serve.console.site import Site
from variants.errors import InputError
from variants.reports.formats import number, seconds
from variants.reports.palette import PALETTE

Json = dict[str, Any]
CHAT = "/v1/chat/completions"
TASK = "text-generation"
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
LONGEST = 1024
"""The most new tokens that the page asks for."""


class Answer(NamedTuple):
    """One variant's answer. `words` are pieces of its text, each with whether the first variant's answer lacks it.
    `figures` are its time and tokens as text. `problem` is why there is none."""

    variant: str
    colour: int
    words: list[tuple[str, bool]]
    figures: str = ""
    problem: str = ""


class TryIt:
    def __init__(self, site: Site) -> None:
        self.site = site

    async def page(self, request: Request) -> Response:
        return await self.shown(request, {"model": request.query_params.get("model", "")})

    def asked(self, form: Form) -> Json:
        """The body of the request. Raises InputError naming the field."""
        model, prompt, tokens = form.get("model", ""), form.get("prompt", ""), form.get("tokens", "")
        if model not in self.models():
            raise InputError(f"there is no model {model!r:.80} that answers prompts", field="model")
        if not (tokens.isdecimal() and len(tokens) < 6 and 0 < int(tokens) <= LONGEST):
            raise InputError("is not a number of tokens", field="tokens", mend=f"enter 1 to {LONGEST}")
        return {"messages": [{"role": "user", "content": prompt}], "max_tokens": int(tokens), "temperature": 0}

    async def stream(self, request: Request, form: Form) -> ASGIApp:
        """The answer of one variant as it comes, for the page's script. Raises InputError naming the field."""
        body = {"model": f"{form.get('model')}@{form.get('variant')}", **self.asked(form), **STREAM}
        return self.site.api.passed_on(request, CHAT, body, x_understudy_shadow="off")

    async def ask(self, request: Request, form: Form) -> Response:
        """The page with the answers of every variant. Raises InputError naming the field."""
        model, body = form.get("model", ""), self.asked(form)
        variants = self.models()[model]
        replies = await asyncio.gather(*(self.timed(request, f"{model}@{each}", body) for each in variants))
        return await self.shown(request, form, {"variants": variants, "replies": replies, "body": body})

    async def timed(self, request: Request, name: str, body: Json) -> tuple[Reply, float]:
        """The reply of one variant, and the seconds that it took. Raises HTTPException for a key that may not ask."""
        began = time.perf_counter()
        reply = await self.site.api.send(request, "POST", CHAT, {"model": name, **body}, x_understudy_shadow="off")
        if reply.status in (401, 403):
            raise HTTPException(reply.status, message_of(reply))
        return reply, time.perf_counter() - began

    async def shown(self, request: Request, form: Form, asked: Json | None = None) -> Response:
        models, has_keys = self.models(), bool(self.site.server.keys)
        url = str(request.base_url).rstrip("/")

        def values() -> Json:
            return {
                "models": models,
                "form": {"model": "", "prompt": "", "tokens": "60", **form},
                "longest": LONGEST,
                "answers": answers_of(asked["variants"], asked["replies"]) if asked else None,
                "copies": copies(url, {"model": form["model"], **asked["body"]}, has_keys) if asked else None,
            }

        return await self.site.render(request, "try_it.html.j2", values)

    def models(self) -> dict[str, list[str]]:
        """The models that answer prompts, each with its variants."""
        models = self.site.snapshot().stack.models
        return {name: list(model.variants) for name, model in models.items() if model.task == TASK}


def answers_of(variants: list[str], replies: list[tuple[Reply, float]]) -> list[Answer]:
    """The answers in the order of the variants. Words are marked against the first that answered."""
    first: list[str] | None = None
    answers = []
    for index, (variant, (reply, took_s)) in enumerate(zip(variants, replies, strict=True)):
        colour = index % len(PALETTE)
        if reply.status != 200:
            answers.append(Answer(variant, colour, [], problem=message_of(reply)))
            continue
        words = (reply.document["choices"][0]["message"].get("content") or "").split(" ")
        answers.append(Answer(variant, colour, marked(words, first or words), figures_of(reply.document, took_s)))
        first = first or words
    return answers


def figures_of(document: Json, took_s: float) -> str:
    tokens = (document.get("usage") or {}).get("completion_tokens")
    if not tokens:
        return seconds(took_s)
    return f"{seconds(took_s)}, {tokens} tokens, {number(tokens / took_s)} tokens/s"


def marked(words: list[str], first: list[str]) -> list[tuple[str, bool]]:
    """The words in pieces, each with whether it differs from `first`."""
    pieces = []
    for kind, _, _, begin, end in difflib.SequenceMatcher(None, first, words, autojunk=False).get_opcodes():
        if begin < end:
            pieces.append((" ".join(words[begin:end]), kind != "equal"))
    return pieces


def copies(url: str, body: Json, has_keys: bool) -> dict[str, str]:
    """The same request as a command and as Python, routed by the traffic."""
    key = ' -H "authorization: Bearer $UNDERSTUDY_KEY"' if has_keys else ""
    curl = f"curl -s {url}{CHAT}{key} -H 'content-type: application/json' -d {shlex.quote(json.dumps(body))}"
    arguments = "".join(f"    {name}={value!r},\n" for name, value in body.items())
    secret = 'os.environ["UNDERSTUDY_KEY"]' if has_keys else '"none"'
    python = (
        f"{'import os' + chr(10) if has_keys else ''}from openai import OpenAI\n\n"
        f"client = OpenAI(base_url={url + '/v1'!r}, api_key={secret})\n"
        f"answer = client.chat.completions.create(\n{arguments})\nprint(answer.choices[0].message.content)"
    )
    return {"curl": curl, "Python": python}
