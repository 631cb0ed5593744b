"""The page of one model: its variants, their cards of this machine, recipes, lineage, and its rollouts."""

from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serve.console.fleet import shares_of
from serve.console.site import Site
from variants.artifacts.card import Card
from variants.reports.palette import PALETTE
from variants.reports.table import Column, Row

Json = dict[str, Any]
COLUMNS = (
    Column("{metric},\n95 % interval", "/accuracy", "measure"),
    Column("\nn", "/accuracy/n", "count"),
    Column("difference to parent,\nsame examples, 95 %", "/difference", "difference"),
    Column("1 request\np50", "/card/latency_s/p50", "seconds"),
    Column("\np95", "/card/latency_s/p95", "seconds"),
    Column("times as fast\n1 request", "/card/speedup/single", "ratio"),
    Column("\n8 at once", "/card/speedup/saturated", "ratio"),
    Column("8 at once\nrequests/s", "/card/throughput_per_s", "number"),
    Column("engine CPU-s for\n1,000 requests", "/card/cost_cpu_s", "number"),
    Column("bytes\nserved", "/bytes", "size"),
    Column("memory,\nhighest", "/card/peak_memory_bytes", "size"),
)


AXES = (
    ("ms for one request, median", attrgetter("milliseconds")),
    ("MB that the engine loads", attrgetter("megabytes")),
)


class Carded(NamedTuple):
    """A variant with its newest card of this machine. `colour` is an index of the palette."""

    variant: str
    colour: int
    card: Card
    bytes: int

    def row(self) -> Row:
        accuracy = self.card.accuracy[0] if self.card.accuracy else None
        same = (each for each in self.card.differences if accuracy and shown(each) == shown(accuracy))
        document = {"card": self.card, "accuracy": accuracy, "difference": next(same, None), "bytes": self.bytes}
        return Row(self.variant, self.colour, document, accuracy.unit if accuracy else "", title=self.card.digest)


def shown(figure: Any) -> tuple[str, str]:
    """What a figure is of: its task and metric."""
    return figure.task, figure.metric


class ModelPages:
    def __init__(self, site: Site) -> None:
        self.site = site

    async def page(self, request: Request) -> Response:
        name = request.path_params["model"]
        model, cards = await self.read(request)
        rollouts = await self.site.api.get(request, f"/admin/v1/models/{name}/rollouts")

        def values() -> Json:
            carded = carded_of(cards, model)
            shares = shares_of(model["variants"])
            return {
                "model": model,
                "variants": [
                    {
                        **each,
                        "share": shares[each["variant"]],
                        "colour": index % len(PALETTE),
                        "line": line(model, each),
                    }
                    for index, each in enumerate(model["variants"])
                ],
                "cards": (columns_of(carded), [each.row() for each in carded]),
                "tasks": sorted({each.card.accuracy[0].task for each in carded if each.card.accuracy}),
                "has_picture": chart_of(carded) is not None,
                "without_card": [each["variant"] for each in model["variants"] if each["variant"] not in names(carded)],
                "recipes": {each["variant"]: each["recipe"] for each in cards["variants"]},
                "rollouts": rollouts["rollouts"],
            }

        return await self.site.render(request, "model.html.j2", values)

    async def read(self, request: Request) -> tuple[Json, Json]:
        """The model and its cards as the API has them. Raises HTTPException."""
        name = request.path_params["model"]
        document = await self.site.api.get(request, "/admin/v1/models")
        model = next((each for each in document["models"] if each["model"] == name), None)
        if model is None:
            raise HTTPException(404, f"there is no model {name!r:.80}")
        cards = await self.site.api.get(request, f"/admin/v1/models/{name}/cards")
        return {**model, "machine": document["machine"]}, cards

    async def picture(self, request: Request) -> Response:
        """Accuracy against latency and against bytes, as SVG. Raises HTTPException."""
        model, cards = await self.read(request)
        return await self.site.picture(lambda: drawn(model["model"], chart_of(carded_of(cards, model))))


def carded_of(cards: Json, model: Json) -> list[Carded]:
    """Each variant that has a card of this machine, with the newest. An adapter is served on its parent's bytes."""
    own = {each["variant"]: each["artifact_bytes"] for each in model["variants"]}
    carded = []
    for index, each in enumerate(cards["variants"]):
        here = [card for card in each["cards"] if card["hardware"] == model["machine"]]
        if here:
            on = next(known["parent"] for known in model["variants"] if known["variant"] == each["variant"])
            below = own.get(on, 0) if each["recipe"]["kind"] in ("lora", "adapter") else 0
            card, size = Card.model_validate(here[0]), own[each["variant"]] + below
            carded.append(Carded(each["variant"], index % len(PALETTE), card, size))
    return carded


def columns_of(carded: list[Carded]) -> list[Column]:
    """The columns, the first with the metrics that it has."""
    metrics = sorted({each.card.accuracy[0].metric for each in carded if each.card.accuracy}) or ["accuracy"]
    return [column._replace(heading=column.heading.format(metric=" or ".join(metrics))) for column in COLUMNS]


def names(carded: list[Carded]) -> set[str]:
    return {each.variant for each in carded}


def line(model: Json, variant: Json) -> list[str]:
    """The variants that this one is made from, the first one first, and itself."""
    by_name = {each["variant"]: each for each in model["variants"]}
    chain = [variant["variant"]]
    while (parent := by_name.get(chain[-1], {}).get("parent")) and parent not in chain:
        chain.append(parent)
    return chain[::-1]


class Dot(NamedTuple):
    """One variant of the picture. The figure and its interval are in percent where it is a share."""

    variant: str
    colour: int
    milliseconds: float
    megabytes: float
    value: float
    low: float
    high: float


class Chart(NamedTuple):
    """What the picture shows. `better` says which values of the figure are."""

    label: str
    better: Literal["higher", "lower"]
    dots: tuple[Dot, ...]


def chart_of(carded: list[Carded]) -> Chart | None:
    """The variants with a latency and a figure of the first one's task and metric; None where there are none."""
    fit = [(each, each.card.accuracy[0], each.card.latency_s) for each in carded if each.card.accuracy]
    timed = [(each, figure, latency) for each, figure, latency in fit if latency]
    if not timed:
        return None
    first = timed[0][1]
    scale, unit = (100, ", %") if first.unit == "share" else (1, "")
    dots = (
        Dot(each.variant, each.colour, 1000 * latency.p50, each.bytes / 1e6, scale * figure.value, scale * figure.low,
            scale * figure.high)
        for each, figure, latency in timed
        if shown(figure) == shown(first)
    )  # fmt: skip
    return Chart(f"{first.metric}{unit} ({first.better} is better)", first.better, tuple(dots))


@lru_cache(maxsize=64)
def drawn(model: str, chart: Chart | None) -> str:
    """The Pareto plot as a file of SVG. Raises HTTPException where no variant has a card."""
    from variants.reports import pareto  # here, because Matplotlib takes memory and time to import
    from variants.reports.page import standalone

    if chart is None:
        raise HTTPException(404, f"{model} has no card of this machine")
    panels = [
        pareto.Panel(
            [pareto.Point(x_of(dot), dot.value, dot.low, dot.high, dot.variant, dot.colour) for dot in chart.dots],
            x_label,
            chart.label if index == 0 else "",
            ("lower", chart.better),
        )
        for index, (x_label, x_of) in enumerate(AXES)
    ]
    return standalone(pareto.plot("pareto", f"{chart.label} of the variants of {model}", panels, share_y=True))
