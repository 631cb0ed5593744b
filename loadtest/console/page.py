"""The page `/pages/load` of the server's console: start a campaign, watch it, read its report, compare two.

The console calls it only for people with the right `admin`, and checks the token of what a form posts. What it needs of
the console is a `Console`. Its campaigns go to this server alone.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from loadtest.console.files import OWN, CampaignFile, campaign_files
from loadtest.console.runs import SHOWN, CampaignRuns, Runs
from variants.errors import InputError, IntegrityError

T = TypeVar("T")
Json = dict[str, Any]
Form = dict[str, str]
PATH = "/pages/load"
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
"""The report is one file with its own styles, and without scripts."""


class Console(Protocol):
    """What the console gives its pages: `serve.console.site.Site` has it. `url` is the server's address on this
    machine, and `models` has the names of what it serves. `apart` does work outside the loop that streams."""

    @property
    def url(self) -> str: ...
    @property
    def home(self) -> Path: ...
    @property
    def has_keys(self) -> bool: ...
    @property
    def models(self) -> list[str]: ...
    def who(self, request: Request) -> str: ...
    async def apart(self, work: Callable[[], T]) -> T: ...
    async def picture(self, work: Callable[[], str]) -> Response: ...
    async def render(
        self, request: Request, template: str, values: Callable[[], Json], status: int = 200
    ) -> Response: ...


class LoadPages:
    title = "Load"
    templates = Path(__file__).parent / "templates"

    def __init__(self, console: Console) -> None:
        self.console = console

    @property
    def pages(self) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
        return {
            "": self.page,
            "/compare": self.compare,
            "/{run}/report": self.report,
            "/{run}/{model}.svg": self.picture,
        }

    @property
    def forms(self) -> Mapping[str, Callable[[Request, Form], Awaitable[Response]]]:
        return {"/start": self.start, "/stop": self.stop}

    @cached_property
    def runs(self) -> Runs:
        return Runs(self.console.home / "load")

    def files(self) -> dict[str, CampaignFile]:
        """The campaign files by name. One's own replace those of the same name that come with the program."""
        return campaign_files(OWN, self.console.home / "campaigns")

    async def page(self, request: Request) -> Response:
        return await self.shown(request)

    async def shown(self, request: Request, chosen: str = "", problem: str = "", status: int = 200) -> Response:
        served = self.console.models

        def values() -> Json:
            latest, files = self.runs.latest(), list(self.files().values())
            return {
                "home": PATH,
                "files": [(file, file.missing(served)) for file in files],
                "startable": [file for file in files if not (file.problem or file.missing(served))],
                "runs": latest,
                "running": next((run for run in latest if run.state == "running"), None),
                "complete": [run for run in latest if run.state == "complete"],
                "most": SHOWN,
                "chosen": chosen,
                "problem": problem,
                "has_keys": self.console.has_keys,
                "own": self.console.home / "campaigns",
                "results": self.runs.folder,
            }

        return await self.console.render(request, "load.html.j2", values, status)

    async def start(self, request: Request, form: Form) -> Response:
        """Start the campaign whose file has the name that the form says. A refusal is told above the form."""
        name, by, url = form.get("campaign", ""), self.console.who(request), self.console.url
        key = form.get("key", "").strip() if self.console.has_keys else ""
        served = self.console.models

        def begin() -> str:
            return self.runs.start(chosen_of(self.files(), name, served), url, by, key or None)

        if self.console.has_keys and not (key and key.isprintable()):
            return await self.shown(request, name, "key: enter the API key that the requests shall have", 400)
        try:
            await self.console.apart(begin)
        except CampaignRuns as error:
            return await self.shown(request, name, str(error), 409)
        except InputError as error:
            return await self.shown(request, name, str(error), 400)
        return RedirectResponse(PATH, 303)

    async def stop(self, request: Request, form: Form) -> Response:
        await self.console.apart(self.runs.stop)
        return RedirectResponse(PATH, 303)

    async def report(self, request: Request) -> Response:
        """The report that `understudy report` writes. Raises UnknownName, HTTPException where there is none."""

        def read() -> bytes:
            path = self.runs.path(request.path_params["run"]) / "report.html"
            if not path.is_file():
                raise HTTPException(404, "this run has no report: it is not complete")
            return path.read_bytes()

        text = await self.console.apart(read)
        return Response(text, headers={"content-security-policy": REPORT_POLICY}, media_type="text/html")

    def summary(self, run: str) -> Any:
        """The summary of a run. Raises UnknownName, HTTPException where there is none, IntegrityError."""
        from loadtest.results.schema import Summary  # here, because importing it takes time

        path = self.runs.path(run) / "summary.json"
        if not path.is_file():
            raise HTTPException(404, "this run has no figures: it is not complete")
        try:
            return Summary.model_validate_json(path.read_bytes())
        except ValidationError:
            raise IntegrityError(f"{path} is damaged", mend=f"understudy report --out {path.parent}") from None

    async def compare(self, request: Request) -> Response:
        """The figures of two runs, side by side. Raises UnknownName, HTTPException where a run has none."""
        first, second = (request.query_params.get(name, "") for name in ("first", "second"))

        def values() -> Json:
            from loadtest.console.comparison import compare

            one, other = self.summary(first), self.summary(second)
            runs = [(first, one), (second, other)]
            return {"home": PATH, "runs": runs, "compared": compare(one, other)}

        return await self.console.render(request, "load_compare.html.j2", values)

    async def picture(self, request: Request) -> Response:
        """Accuracy against throughput of a run's model, as SVG. Raises UnknownName, HTTPException without one."""
        run, model = request.path_params["run"], request.path_params["model"]
        return await self.console.picture(lambda: self.drawn(run, model))

    def drawn(self, run: str, model: str) -> str:
        from loadtest.results.plots import pareto  # here, because Matplotlib takes memory and time to import
        from variants.reports.page import standalone

        figures = next((each for each in self.summary(run).models if each.model == model), None)
        plot = pareto(figures) if figures is not None else None
        if plot is None:
            raise HTTPException(404, f"this run has no accuracy and speed of {model!r:.80}")
        return standalone(plot)


def chosen_of(files: Mapping[str, CampaignFile], name: str, served: list[str]) -> CampaignFile:
    """The file of that name, if it can be started. Raises InputError."""
    if name not in files:
        raise InputError(f"there is no campaign {name!r:.80}", field="campaign", mend="choose one of the list")
    file = files[name]
    if file.problem:
        raise InputError(file.problem, field="campaign")
    if missing := file.missing(served):
        raise InputError(f"{name} asks for {', '.join(missing)}, which is not served here", field="campaign")
    return file
