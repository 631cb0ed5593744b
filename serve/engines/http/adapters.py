"""Loading and unloading low-rank adapters over HTTP, as vLLM's server has it; each is one more name that answers."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def adapter_routes(names: set[str], most: int) -> list[Route]:
    """Routes that keep `names`, the base's among them, at most `most`. An adapter has no weights here."""

    async def load_adapter(request: Request) -> Response:
        asked = await request.json()
        name, folder = asked["lora_name"], Path(asked["lora_path"])
        if not (folder / "adapter_config.json").is_file():
            return Response(f"no adapter in {folder}", 404)
        if name in names:
            return Response(f"{name} is loaded already", 400)
        if len(names) >= most:
            return Response(f"{most - 1} adapters are loaded already", 400)
        names.add(name)
        return Response("loaded")

    async def unload_adapter(request: Request) -> Response:
        name = (await request.json())["lora_name"]
        if name not in names:
            return Response(f"no adapter {name}", 404)
        names.discard(name)
        return Response("unloaded")

    return [
        Route("/v1/load_lora_adapter", load_adapter, methods=["POST"]),
        Route("/v1/unload_lora_adapter", unload_adapter, methods=["POST"]),
    ]
