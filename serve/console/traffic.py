"""The page of a model's traffic: shares, pins and shadows as a form, a preview of who moves, and the history."""

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serve.api.http import parse_object
from serve.config.traffic import Traffic, read_traffic
from serve.console.api_client import checked
from serve.console.forms import Form
from serve.console.preview import preview
from serve.console.site import Site
from serve.errors import status_of
from serve.protocols.hash_keys import hash_keys
from variants.errors import InputError, UnderstudyError
from variants.home import home
from variants.reports.palette import PALETTE
from variants.reports.rollout_report import clock_of, shares

Json = dict[str, Any]
ENTRIES = 2000
"""So many of the journal's latest entries are searched for decisions on the model."""
OFF = 0.1
"""Shares in percent add up to 100 within this: thirds are written as 33.33."""


class TrafficPage:
    def __init__(self, site: Site) -> None:
        self.site = site

    async def page(self, request: Request) -> Response:
        return await self.shown(request, {})

    async def change(self, request: Request, form: Form) -> Response:
        """Show who would move, or apply what was previewed. A change that is refused is told above the form."""
        try:
            if "document" in form:
                return await self.apply(request, form)
            return await self.previewed(request, form)
        except UnderstudyError as error:
            return await self.shown(request, form, str(error), status_of(error))
        except HTTPException as error:
            return await self.shown(request, form, error.detail, error.status_code)

    async def previewed(self, request: Request, form: Form) -> Response:
        """Raises InputError naming the field."""
        name = request.path_params["model"]
        now = await self.site.api.get(request, address(name))
        before = Traffic.model_validate(now["traffic"])
        document = document_of(form, before)
        after = read_traffic(document, self.site.snapshot().stack.models[name], name)
        key = hash_keys(home()).assign
        moves = await self.site.apart(lambda: preview(name, before, after, key))
        proposed = {"document": json.dumps(document), "preview": moves, "after": after.shares, "shadows": after.shadows}
        return await self.shown(request, {**form, "version": str(now["version"])}, proposed=proposed)

    async def apply(self, request: Request, form: Form) -> Response:
        """Raises HTTPException for what the API refuses, InputError for a document that is none."""
        document, version = parse_object(form["document"].encode()), form.get("version", "")
        path = address(request.path_params["model"])
        body = {**document, "why": form.get("why", "")}
        checked(await self.site.api.send(request, "PUT", path, body, if_match=f'"{version}"'))
        return RedirectResponse(f"{request.url.path}?changed=1", 303)

    async def shown(
        self, request: Request, form: Form, problem: str = "", status: int = 200, proposed: Json | None = None
    ) -> Response:
        """The page; `form` has what was entered."""
        name = request.path_params["model"]
        now = await self.site.api.get(request, address(name))
        rollouts = await self.site.api.get(request, f"/admin/v1/models/{name}/rollouts")
        journal = await self.site.api.get(request, "/admin/v1/journal", f"last={ENTRIES}")
        is_open = [each for each in rollouts["rollouts"] if each["status"] in ("running", "paused")]

        def values() -> Json:
            fields = fields_of(now)
            return {
                "model": name,
                "now": now,
                "rows": [
                    (variant, index % len(PALETTE), share)
                    for index, (variant, share) in enumerate(now["shares"].items())
                ],
                "fields": {**fields, **{field: value for field, value in form.items() if field in fields}},
                "problem": problem,
                "proposed": proposed,
                "why": form.get("why", ""),
                "rollout": is_open[0] if is_open else None,
                "has_changed": "changed" in request.query_params,
                "history": history_of(name, journal["entries"]),
                "entries": ENTRIES,
            }

        return await self.site.render(request, "traffic.html.j2", values, status)


def address(model: str) -> str:
    return f"/admin/v1/models/{model}/traffic"


def fields_of(now: Json) -> Form:
    """The fields of the form, filled with the traffic in force."""
    traffic = now["traffic"]
    return {
        **{f"share-{variant}": percent(share) for variant, share in now["shares"].items()},
        **{f"shadow-{variant}": percent(traffic["shadows"].get(variant, 0)) for variant in now["shares"]},
        "pins": "\n".join(f"{client} = {variant}" for client, variant in sorted(traffic["pins"].items())),
        "version": str(now["version"]),
    }


def percent(share: float) -> str:
    return f"{round(100 * share, 2):g}"


def document_of(form: Form, before: Traffic) -> Json:
    """The document of the traffic that a form describes. Raises InputError naming the field."""
    entered = {variant: number_in(form, f"share-{variant}") for variant in before.weights}
    if abs(sum(entered.values()) - 100) > OFF:
        raise InputError(f"the shares add up to {sum(entered.values()):g} and not to 100", mend="change one of them")
    shadows = {variant: shadow_in(form, variant, before.shadows.get(variant, 0.0)) for variant in before.weights}
    kept = {variant: percent(share) for variant, share in before.shares.items()}
    is_same = all(form.get(f"share-{variant}", "").strip() == shown for variant, shown in kept.items())
    return {
        "weights": before.weights if is_same else entered,
        "shadows": {variant: share for variant, share in shadows.items() if share},
        "pins": pins_in(form.get("pins", "")),
        "sticky": before.sticky,
    }


def shadow_in(form: Form, variant: str, before: float) -> float:
    """A shadow's share; that of `before` where the field has what it showed, which was rounded. Raises InputError."""
    field = f"shadow-{variant}"
    entered = number_in(form, field) / 100
    return before if form.get(field, "").strip() == percent(before) else entered


def number_in(form: Form, field: str) -> float:
    """A percentage. Raises InputError."""
    try:
        value = float(form.get(field, "").strip() or "0")
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise InputError(
            "is not a number from 0 to 100", field=field.replace("-", " of ", 1), mend="enter a percentage"
        )
    return value


def pins_in(text: str) -> dict[str, str]:
    """Pins from lines of the form `client = variant`. Raises InputError."""
    pins = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        client, equals, variant = line.rpartition("=")
        if not (equals and client.strip() and variant.strip()):
            raise InputError(f"{line!r:.80} is not a pin", field="pins", mend="write one a line: client = variant")
        pins[client.strip()] = variant.strip()
    return pins


def history_of(model: str, entries: list[Json]) -> list[Json]:
    """The decisions on a model's traffic, the latest first."""
    return [
        {
            "at": clock_of(each["at"]),
            "who": each.get("who", ""),
            "why": each.get("why", ""),
            "shares": shares(each["traffic"]["weights"]) if each.get("traffic") else "",
            "seq": each["seq"],
        }
        for each in reversed(entries)
        if each["kind"] in ("traffic", "rollout") and each.get("model") == model
    ]
