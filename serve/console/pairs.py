"""Pages of kept pairs: where a variant and its parent differ most, and blind rating, one pair at a time.

Both read what `understudy label` reads, and a rating is sent as its opinions are. While one rates, no part of the page
says which answer is the variant's: the server alone knows the sides of each pair, by its secret.
"""

import difflib
import hashlib
import hmac
from collections import Counter
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serve.console.api_client import checked
from serve.console.forms import Form
from serve.console.site import Site
from serve.protocols.uncounted import CODES, UNCOUNTED
from variants.errors import InputError
from variants.reports.formats import share
from variants.reports.palette import PALETTE

Json = dict[str, Any]
Pieces = list[tuple[str, bool]]
READ = 300
"""The pages read so many kept pairs, those without an opinion first."""
RATED = 50
"""The page of rating reads so many while nothing was skipped: each opinion reads them again."""
PER_PAGE = 10
MOST_WORDS = 300
"""Longer answers are shown without marks: the time to compare grows with the cube where words repeat."""
FILTERS = ("variant", "rollout")
CHOICES = {"left": 1, "right": -1, "tie": 0}
"""What each choice says of the left answer."""
OUTCOMES = {1: "the variant is better", 0: "alike", -1: "the parent is better"}


class PairPages:
    def __init__(self, site: Site) -> None:
        self.site = site

    async def page(self, request: Request) -> Response:
        """All kept pairs, those that differ most first. Raises HTTPException, InputError."""
        model, query = request.path_params["model"], request.query_params
        pairs = await self.read(request, model, query.get("variant") or None, READ)
        rollouts = await self.rollouts(request, model)
        number = number_of(query.get("page") or "1")

        def values() -> Json:
            places = list(self.site.snapshot().stack.models[model].variants)
            shown = [each for each in pairs or () if is_of(each, rollouts, query.get("rollout"))]
            shown.sort(key=difference, reverse=True)
            first = PER_PAGE * (number - 1)
            return {
                "model": model,
                "variants": self.variants(model),
                "rollouts": rollouts,
                "chosen": {name: query.get(name, "") for name in FILTERS},
                "is_kept": pairs is not None,
                "count": len(shown),
                "first": first,
                "is_all": len(pairs or ()) < READ,
                "most": READ,
                "filters": urlencode(filters_of(query)),
                "pairs": [shown_of(each, places) for each in shown[first : first + PER_PAGE]],
                "before": address(query, number - 1) if number > 1 else None,
                "after": address(query, number + 1) if first + PER_PAGE < len(shown) else None,
            }

        return await self.site.render(request, "pairs.html.j2", values)

    async def rating(self, request: Request) -> Response:
        """The latest pair without an opinion, older than `before`. Raises HTTPException, InputError."""
        model, query = request.path_params["model"], request.query_params
        before, rollout = moment_of(query.get("before")), query.get("rollout")
        most = READ if query.get("before") or rollout else RATED
        pairs = await self.read(request, model, query.get("variant") or None, most)
        rollouts = await self.rollouts(request, model) if rollout else []
        unrated = [each for each in pairs or () if each["outcome"] is None]
        waiting = [each for each in unrated if each["at"] < before and is_of(each, rollouts, rollout)]

        def values() -> Json:
            return {
                "model": model,
                "is_kept": pairs is not None,
                "waiting": len(waiting),
                "is_all": len(unrated) < most,
                "most": most,
                "filters": filters_of(query),
                "last": query.get("last", ""),
                "why_not": UNCOUNTED.get(query.get("last", "")),
                "before": query.get("before", ""),
                "pair": self.blind(waiting[0]) if waiting else None,
            }

        return await self.site.render(request, "rating.html.j2", values)

    async def rate(self, request: Request, form: Form) -> Response:
        """Send an opinion, then show the next pair. Raises HTTPException, InputError."""
        choice, pair, variant = form.get("choice", ""), form.get("id", ""), form.get("of", "")
        if choice not in CHOICES:
            raise InputError(f"{choice!r:.40} is no choice", field="choice", mend="left, right or tie")
        outcome = CHOICES[choice] * (1 if self.variant_is_left(pair, variant) else -1)
        opinion = {"request_id": pair, "variant": variant, "outcome": outcome}
        receipt = checked(await self.site.api.send(request, "POST", "/v1/feedback", opinion)).document
        kept = {name: form[name] for name in (*FILTERS, "before") if form.get(name)}
        query = urlencode({**kept, "last": "counted" if receipt["counted"] else CODES.get(receipt["why"], "no")})
        return RedirectResponse(f"{request.url.path}?{query}", 303)

    async def read(self, request: Request, model: str, variant: str | None, most: int) -> list[Json] | None:
        """At most `most` kept pairs; None where the stack file keeps none of this model. Raises HTTPException."""
        query = urlencode({"limit": most} | ({"variant": variant} if variant else {}))
        reply = await self.site.api.send(request, "GET", f"/admin/v1/models/{model}/pairs", query=query)
        known = self.site.snapshot().stack.models.get(model)
        if reply.status == 400 and known is not None and known.keep_answers is None:
            return None
        pairs: list[Json] = checked(reply).document["pairs"]
        return pairs

    async def rollouts(self, request: Request, model: str) -> list[Json]:
        """The rollouts of a model, the latest first. Raises HTTPException."""
        answer = await self.site.api.get(request, f"/admin/v1/models/{model}/rollouts")
        return list(answer["rollouts"])

    def variants(self, model: str) -> list[str]:
        """The variants that have a parent."""
        variants = self.site.snapshot().stack.models[model].variants
        return [name for name, variant in variants.items() if variant.parent]

    def blind(self, pair: Json) -> Json:
        """A pair for the page of rating: two sides with their pieces, and no word on whose they are."""
        answers = [pair["answers"]["variant"], pair["answers"]["parent"]]
        if not self.variant_is_left(pair["id"], pair["variant"]):
            answers.reverse()
        left, right = sides(*answers)
        return {
            **{name: pair[name] for name in ("id", "variant", "parent", "prompt", "at")},
            "sides": {"left": left, "right": right},
        }

    def variant_is_left(self, pair: str, variant: str) -> bool:
        """A coin for each pair, which needs the server's secret: a second look shows the same."""
        text = f"side of {pair} {variant}".encode()
        return hmac.digest(self.site.sessions.secret, text, hashlib.sha256)[0] < 128


def sides(one: str, other: str) -> tuple[Pieces, Pieces]:
    """Both texts in pieces, each with whether the other text lacks it. Texts of more than MOST_WORDS are not marked."""
    words, others = one.split(" "), other.split(" ")
    if max(len(words), len(others)) > MOST_WORDS:
        return [(one, False)], [(other, False)]
    steps = difflib.SequenceMatcher(None, words, others, autojunk=False).get_opcodes()
    first = [(" ".join(words[begin:end]), kind != "equal") for kind, begin, end, _, _ in steps if begin < end]
    second = [(" ".join(others[begin:end]), kind != "equal") for kind, _, _, begin, end in steps if begin < end]
    return first, second


def difference(pair: Json) -> float:
    """From 0 to 1: the share of words that the answers have not in common, whatever their order."""
    one, other = (Counter(pair["answers"][of].split()) for of in ("variant", "parent"))
    words = one.total() + other.total()
    return 1 - 2 * (one & other).total() / words if words else 0.0


def shown_of(pair: Json, places: list[str]) -> Json:
    """A pair for the page of all: with names, and what somebody said of it. `places` are the variants in the order of
    their colours; one that is no longer served has none."""
    outcome, names = pair["outcome"], (pair["parent"], pair["variant"])
    texts = sides(pair["answers"]["parent"], pair["answers"]["variant"])
    colours = [places.index(name) % len(PALETTE) if name in places else None for name in names]
    return {
        "id": pair["id"],
        "prompt": pair["prompt"],
        "difference": share(difference(pair)),
        "answers": list(zip(names, colours, texts, strict=True)),
        "said": f"{OUTCOMES[outcome]}, says {pair['by']}" if outcome is not None else "no opinion yet",
        "known": OUTCOMES.get(pair["known"]),
    }


def is_of(pair: Json, rollouts: list[Json], name: str | None) -> bool:
    """Whether a pair was compared for a rollout: its variant, while it was open. Every pair is, of none."""
    if not name:
        return True
    of = [each for each in rollouts if each["id"] == name and each["variant"] == pair["variant"]]
    return any(
        seconds_of(each["began"]) <= pair["at"] <= seconds_of(each["ended"] or "9999-12-31T00:00:00+00:00")
        for each in of
    )


def seconds_of(text: str) -> float:
    """Seconds of the epoch from a time of the API."""
    return datetime.fromisoformat(text).timestamp()


def filters_of(query: QueryParams) -> dict[str, str]:
    """The filters that are set."""
    return {name: query[name] for name in FILTERS if query.get(name)}


def address(query: QueryParams, page: int) -> str:
    """The query of another page with the same filters."""
    return urlencode({**filters_of(query), "page": page})


def number_of(text: str) -> int:
    """The number of a page. Raises InputError."""
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and int(text) > 0):
        raise InputError(f"{text!r:.40} is not the number of a page", field="page")
    return int(text)


def moment_of(text: str | None) -> float:
    """A time in seconds of the epoch, from a link of the page. Raises InputError."""
    try:
        return float(text or "inf")
    except ValueError:
        raise InputError(f"{text!r:.40} is not a time", field="before", mend="open the page without it") from None
