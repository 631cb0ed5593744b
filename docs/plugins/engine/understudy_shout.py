"""An engine: it answers a prompt with the prompt in capitals. `python -m understudy_shout` is its process."""

import sys
from pathlib import Path

from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from serve.config.engine_plugin import EnginePlugin
from serve.engines.http import server
from variants.document import Document


class Fields(Document):
    mark: str = Field(default="", max_length=1)


def command(fields: Fields, artifact: Path, name: str) -> list[str]:
    options = [f"--mark={fields.mark}", "--artifact", str(artifact), "--name", name, "--port", "{port}"]
    return [sys.executable, "-m", "understudy_shout", *options]


SHOUT = EnginePlugin(tasks=("text-generation",), command=command, fields=Fields, memory_mib=64)


def build(options) -> Starlette:
    async def complete(request: Request) -> JSONResponse:
        asked = await request.json()
        scores = {"token_logprobs": [0.0]} if asked.get("logprobs") else None
        text = asked["prompt"].upper() + options.mark
        choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": scores}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return JSONResponse({"object": "text_completion", "model": options.name, "choices": [choice], "usage": usage})

    return Starlette(routes=[server.health(), Route("/v1/completions", complete, methods=["POST"])])


if __name__ == "__main__":
    arguments = server.arguments(__doc__)
    arguments.add_argument("--mark", default="")
    server.main(build, arguments)
