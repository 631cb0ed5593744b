"""A server that speaks the contract with known timing and known mistakes: `python scripted_server.py PORT`.

smollm2 has baseline and int8: 4 and 2 ms a token after 20 ms. Every variant answers a label ask rightly
unless the prompt's crc32 says otherwise: baseline errs on crc % 10 == 0, int8 on crc % 5 == 0. digits has
baseline and int8, 4 and 1 ms a picture, both always right (the label is asked of nobody: it is the last
byte of the PNG's text). `/control` tells it to misbehave: {"fail_every": n} answers every nth request 503,
{"truncate": true} cuts streams short.
"""

import asyncio
import json
import sys
import zlib

from aiohttp import web

TOKEN_S = {"baseline": 0.004, "int8": 0.002}
PICTURE_S = {"baseline": 0.004, "int8": 0.001}
FIRST_S = 0.02
ERRS = {"baseline": 10, "int8": 5}


class Scripted:
    def __init__(self) -> None:
        self.fail_every = 0
        self.truncate = False
        self.one_at_a_time = 0.0
        self.turn = asyncio.Lock()
        self.asked = 0
        self.words: dict[int, str] = {}

    def headers(self, variant: str, reason: str) -> dict[str, str]:
        self.asked += 1
        return {
            "x-request-id": f"request-{self.asked}",
            "x-understudy-variant": variant,
            "x-understudy-reason": reason,
            "x-understudy-artifact": ("b" if variant == "baseline" else "c") * 64,
        }

    def route(self, name: str, client: str | None) -> tuple[str, str]:
        if "@" in name:
            return name.split("@")[1], "pinned"
        return ("int8" if zlib.crc32((client or "").encode()) % 2 else "baseline"), "sticky" if client else "weight"

    def refuses(self) -> bool:
        return bool(self.fail_every) and self.asked % self.fail_every == self.fail_every - 1

    async def work(self, seconds: float) -> None:
        if not self.one_at_a_time:
            await asyncio.sleep(seconds)
            return
        async with self.turn:
            await asyncio.sleep(self.one_at_a_time)

    async def control(self, request: web.Request) -> web.Response:
        for key, value in (await request.json()).items():
            setattr(self, key, value)
        return web.json_response({})

    async def models(self, request: web.Request) -> web.Response:
        def variant(name: str, weight: float, size: int) -> dict[str, object]:
            return {
                "variant": name,
                "weight": weight,
                "ready": True,
                "method": "none" if name == "baseline" else "w8a8",
                "precision": "bf16" if name == "baseline" else "int8",
                "parent": None if name == "baseline" else "baseline",
                "engine": "scripted",
                "artifact_sha256": ("b" if name == "baseline" else "c") * 64,
                "artifact_bytes": size,
                "memory_bytes": 2 * size,
                "peak_memory_bytes": 3 * size,
            }

        return web.json_response(
            {
                "models": [
                    {
                        "model": "smollm2",
                        "task": "text-generation",
                        "variants": [variant("baseline", 50, 269_000_000), variant("int8", 50, 163_000_000)],
                    },
                    {
                        "model": "digits",
                        "task": "image-classification",
                        "variants": [variant("baseline", 50, 14_000_000), variant("int8", 50, 4_000_000)],
                    },
                ],
                "machine": {"cores": 2, "memory_bytes": 24 * 2**30},
                "versions": {"python": "3.11"},
            }
        )

    async def tokenize(self, request: web.Request) -> web.Response:
        tokens = []
        for word in (await request.json())["prompt"].split():
            token = zlib.crc32(word.encode()) % 50_000
            self.words[token] = word
            tokens.append(token)
        return web.json_response({"tokens": tokens, "count": len(tokens), "max_model_len": 2048})

    async def completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        variant, reason = self.route(body["model"], body.get("user"))
        headers = self.headers(variant, reason)
        if self.refuses():
            return web.json_response({"error": {"message": "busy", "code": "overloaded"}}, status=503, headers=headers)
        prompt_tokens = len(body["prompt"].split())
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": body["max_tokens"]}
        if "logit_bias" in body:
            right = request.headers["x-understudy-label"]
            labels = [self.words[int(token)] for token in body["logit_bias"]]
            errs = zlib.crc32(body["prompt"].encode()) % ERRS[variant] == 0
            word = next(label for label in labels if (label == right) != errs)
            await self.work(TOKEN_S[variant])
            return web.json_response({"choices": [{"text": f" {word}"}], "usage": usage}, headers=headers)
        return await self.stream(request, variant, headers, body["max_tokens"], usage)

    async def stream(
        self, request: web.Request, variant: str, headers: dict[str, str], tokens: int, usage: dict[str, int]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={**headers, "content-type": "text/event-stream"})
        await response.prepare(request)
        begun = asyncio.get_running_loop().time()
        for index in range(tokens):
            due = begun + FIRST_S + index * TOKEN_S[variant]
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            frame = {"choices": [{"text": f" w{index}"}]}
            await response.write(b"data: " + json.dumps(frame).encode() + b"\n\n")
            if self.truncate and index == tokens // 2:
                assert request.transport is not None
                request.transport.close()
                return response
        await response.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def infer(self, request: web.Request) -> web.Response:
        body = await request.read()
        head = json.loads(body[: int(request.headers["inference-header-content-length"])])
        tensor = body[int(request.headers["inference-header-content-length"]) :]
        size = head["inputs"][0]["parameters"]["binary_data_size"]
        assert len(tensor) == size == 4 + int.from_bytes(tensor[:4], "little")
        assert tensor[4:12] == b"\x89PNG\r\n\x1a\n"
        name = request.match_info["model"]
        if version := request.match_info.get("version"):
            name = f"{name}@{version}"
        variant, reason = self.route(name, request.headers.get("x-understudy-client"))
        headers = self.headers(variant, reason)
        if self.refuses():
            return web.json_response({"error": "busy"}, status=503, headers=headers)
        await self.work(PICTURE_S[variant])
        labels = {"name": "labels", "datatype": "BYTES", "shape": [1], "data": [request.headers["x-understudy-label"]]}
        return web.json_response({"model_name": "digits", "outputs": [labels]}, headers=headers)


def main() -> None:
    scripted = Scripted()
    app = web.Application()
    app.router.add_get("/admin/v1/models", scripted.models)
    app.router.add_post("/control", scripted.control)
    app.router.add_post("/tokenize", scripted.tokenize)
    app.router.add_post("/v1/completions", scripted.completions)
    app.router.add_post("/v2/models/{model}/infer", scripted.infer)
    app.router.add_post("/v2/models/{model}/versions/{version}/infer", scripted.infer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
