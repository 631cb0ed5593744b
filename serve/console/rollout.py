"""The page of one rollout: its steps, the evidence on each metric, what is missing, and what an operator may do."""

from collections import OrderedDict
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serve.console.api_client import checked
from serve.console.forms import Form
from serve.console.site import Site
from variants.reports.formats import clock, points
from variants.reports.page import standalone
from variants.reports.rollout_report import (
    MEANS,
    as_html,
    clock_of,
    figure,
    known_points,
    lead,
    picture,
    pictured,
    sections,
    step_text,
    title_of,
)

Json = dict[str, Any]
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
"""The report is one file with its own styles, and without scripts."""
POINTS_A_PICTURE = 10
"""While a rollout is open, its pictures are drawn again after so many points."""
PICTURES = 64
ACTIONS = {"running": ("pause", "abort"), "paused": ("resume", "abort")}


class RolloutPages:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.drawn: OrderedDict[tuple[str, ...], str] = OrderedDict()

    async def page(self, request: Request) -> Response:
        document = await self.document(request)
        return await self.site.render(request, "rollout.html.j2", lambda: values_of(document))

    async def document(self, request: Request) -> Json:
        """Raises HTTPException."""
        model, name = request.path_params["model"], request.path_params["id"]
        document: Json = await self.site.api.get(request, f"/admin/v1/models/{model}/rollouts/{name}")
        return document

    async def report(self, request: Request) -> Response:
        """The report of `understudy rollout report --format html`."""
        document = await self.document(request)
        text = await self.site.apart(lambda: as_html(document))
        return Response(text, headers={"content-security-policy": REPORT_POLICY}, media_type="text/html")

    async def picture(self, request: Request) -> Response:
        """The evidence on one metric over time, as SVG."""
        document, metric = await self.document(request), request.path_params["metric"]
        kept = {"cache-control": "private, max-age=3600"}  # its address has its version, and pages are read every 5 s
        return await self.site.picture(lambda: self.draw(document, metric), **kept)

    def draw(self, document: Json, metric: str) -> str:
        """A picture, or the same as before while there are few new points. Raises HTTPException without a picture."""
        key = (document["model"], document["id"], metric, version_of(document, metric))
        if key not in self.drawn:
            plot = picture(document, metric)
            if plot is None:
                raise HTTPException(404, f"there are too few points of {metric!r:.40} for a picture")
            self.drawn[key] = standalone(plot)
            while len(self.drawn) > PICTURES:
                self.drawn.popitem(last=False)
        return self.drawn[key]

    async def steer(self, request: Request, form: Form) -> Response:
        """Pause, resume or abort, if this is still the model's latest rollout. Raises HTTPException."""
        model, name = request.path_params["model"], request.path_params["id"]
        path = f"/admin/v1/models/{model}/rollout"
        rollouts = (await self.site.api.get(request, f"{path}s"))["rollouts"]
        if not rollouts or rollouts[0]["id"] != name:
            raise HTTPException(409, f"{name} is not the latest rollout of {model}")
        action, why = request.path_params["action"], {"why": form.get("why", "")}
        checked(await self.site.api.send(request, "POST", f"{path}/{action}", why))
        return RedirectResponse(request.url.path.rpartition("/")[0], 303)


def version_of(document: Json, metric: str) -> str:
    """Changes when a picture should be drawn again."""
    count = len(known_points(document, metric))
    return f"{document['status']}-{count if document.get('ended') else count // POINTS_A_PICTURE}"


def values_of(document: Json) -> Json:
    verdict, account = document.get("verdict") or {}, document.get("account") or {}
    return {
        "rollout": document,
        "heading": title_of(document),
        "lead": lead(document)[0],
        "steps": steps_of(document),
        "actions": ACTIONS.get(document["status"], ()),
        "verdict": verdict,
        "missing": [*verdict.get("missing", ()), *hold_of(document)],
        "tiles": [tile_of(document, each) for each in findings_of(document)],
        "said": [*ratio_of(account), *coverage_of(account), *card_of(account)],
        "sections": [each for each in sections(document) if each.title != "The verdict"],
    }


def steps_of(document: Json) -> list[tuple[str, str]]:
    """Each step of the plan, with what became of it."""
    steps = document["plan"]["steps"]
    at = len(steps) if document["status"] == "promoted" else steps.index(document["step"])
    here, later = ("current", "to come") if document["status"] in ACTIONS else ("ended here", "not reached")
    states = ["done" if index < at else here if index == at else later for index in range(len(steps))]
    return list(zip(map(step_text, steps), states, strict=True))


def hold_of(document: Json) -> list[str]:
    """Why a rollout waits although its gate is passed."""
    verdict = document.get("verdict") or {}
    if document["status"] != "running" or verdict.get("decision") != "promote":
        return []
    hold, began = clock(document["plan"]["hold_s"]), clock_of(document["steps"][-1]["at"])
    return [f"nothing but time: each step lasts at least {hold} minutes, and this one began {began}"]


def findings_of(document: Json) -> list[Json]:
    """What the verdict says of each metric. Where a rollout ended without one, the last evidence."""
    if verdict := document.get("verdict"):
        return list(verdict["findings"])
    last = document["evidence"][-1]["metrics"] if document["evidence"] else {}
    return [{"metric": name, "value": each["mean"], **each} for name, each in last.items() if each]


def tile_of(document: Json, finding: Json) -> Json:
    """One metric as text. `picture` is the version of its picture, None where there is none."""
    metric = finding["metric"]
    return {
        "metric": metric,
        "meaning": MEANS.get(metric, ""),
        "n": finding["n"],
        "state": finding["state"],
        "value": figure(metric, finding["value"]),
        "interval": f"{figure(metric, finding['low'])} to {figure(metric, finding['high'])}",
        "limit": f"{'at most' if metric == 'errors' else 'at least'} {figure(metric, finding['limit'])}",
        "to_go": finding.get("to_go"),
        "lost": finding.get("lost", 0),
        "picture": version_of(document, metric) if metric in pictured(document) else None,
    }


def ratio_of(account: Json) -> list[str]:
    """Whether clients were assigned as the weights say."""
    assignments = account.get("assignments") or {}
    if not assignments.get("due"):
        return []
    seen, due = assignments["seen"], assignments["due"]
    counts = ", ".join(f"{name} {seen.get(name, 0):,} (due {due[name]:,.0f})" for name in due)
    said = "Sample ratio is broken" if assignments["broken"] else "Sample ratio is as the weights say"
    departs = assignments.get("departs")  # an older server does not say it
    if not departs:
        return [f"{said}: {counts}."]
    return [f"{said}: {counts}.", f"The largest departure: {departs['text'].removeprefix('most of all ')}."]


def coverage_of(account: Json) -> list[str]:
    """Which share of the requests can be compared at all."""
    coverage, pairs = account.get("coverage") or {}, account.get("pairs") or {}
    said = []
    if coverage.get("seen"):
        share = f"{100 * coverage['share']:.1f} %"
        said.append(f"Coverage: {share} of {coverage['seen']:,} requests can be compared.")
    if pairs.get("compared"):
        said.append(f"{pairs['compared']:,} of {pairs['chosen']:,} sampled pairs were compared.")
    return said


def card_of(account: Json) -> list[str]:
    """The card's difference beside the live one."""
    card = account.get("card") or {}
    if not card.get("difference"):
        return ["No card of this machine has the difference to compare with."] if account else []
    parts = [f"{name}: {interval_of(card[at])}" for name, at in (("card", "difference"), ("live", "live")) if card[at]]
    end = " They contradict each other." if card["contradicts"] else ""
    return [f"Right answers minus the parent's, in points. {'; '.join(parts)}.{end}"]


def interval_of(told: Json) -> str:
    return f"{points(told['value'])} ({points(told['low'])} to {points(told['high'])}, n {told['n']:,})"
