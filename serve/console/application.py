"""Puts the console in front of the ingress: pages at PAGES and BELOW, everything else is the ingress's.

The pages are a client of the ingress's own API within the process (`serve.console.api_client`). So rights, limits and
errors are those of the API. `server.console: false` in the stack file turns the pages off.
"""

from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import EntryPoint

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.config.snapshot import Snapshot
from serve.console.brought_pages import PREFIX, Act, Answer, installed, load_pages
from serve.console.fleet import Fleet
from serve.console.forms import Form, read_form
from serve.console.model import ModelPages
from serve.console.pairs import PairPages
from serve.console.protection import Protection
from serve.console.rollout import RolloutPages
from serve.console.sign_in import SignIn
from serve.console.site import Site
from serve.console.traffic import TrafficPage
from serve.console.try_it import TryIt
from variants.errors import UnderstudyError

PAGES = ("/", "/sign-in", "/sign-out", "/try", "/try/stream")
BELOW = ("/models/", "/console/", PREFIX)


def add_console(
    ingress: Starlette, snapshot: Callable[[], Snapshot], pages: Iterable[EntryPoint] | None = None
) -> Starlette:
    """The same application with the console in front. `snapshot` returns what is live. `pages` are the entry points of
    further pages; none given: those that are installed."""
    ingress.add_middleware(Console, snapshot=snapshot, pages=installed() if pages is None else pages)
    return ingress


class Console:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, snapshot: Callable[[], Snapshot], pages: Iterable[EntryPoint]) -> None:
        self.app, self.snapshot = app, snapshot
        site = Site(app, snapshot)
        site.brought = load_pages(pages, site)
        self.pages = build_pages(site)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_page(scope["path"]) and self.snapshot().stack.server.console:
            await self.pages(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def is_page(path: str) -> bool:
    return path in PAGES or path.startswith(BELOW)


def build_pages(site: Site) -> Starlette:
    """The application of the pages."""
    fleet, model, traffic, rollout = Fleet(site), ModelPages(site), TrafficPage(site), RolloutPages(site)
    sign_in, try_it, pairs = SignIn(site), TryIt(site), PairPages(site)

    one = "/models/{model}/rollouts/{id}"
    return Starlette(
        routes=[
            Route("/", fleet.page),
            Route("/sign-in", sign_in.page),
            post("/sign-in", sign_in.sign_in),
            post("/sign-out", sign_in.sign_out),
            Route("/models/{model}", model.page),
            Route("/models/{model}/pareto.svg", model.picture),
            Route("/models/{model}/traffic", traffic.page),
            post("/models/{model}/traffic", traffic.change),
            Route("/models/{model}/pairs", pairs.page),
            Route("/models/{model}/pairs/rate", pairs.rating),
            post("/models/{model}/pairs/rate", pairs.rate),
            Route(one, rollout.page),
            Route(f"{one}/report", rollout.report),
            Route(f"{one}/evidence/{{metric}}.svg", rollout.picture),
            post(f"{one}/{{action}}", rollout.steer),
            Route("/try", try_it.page),
            post("/try", try_it.ask),
            post("/try/stream", try_it.stream),
            Route("/console/{name}", site.asset),
            *brought_routes(site),
        ],
        middleware=[Middleware(Protection, snapshot=site.snapshot, sessions=site.sessions)],
        exception_handlers={HTTPException: site.explain_status, UnderstudyError: site.explain},
    )


def post(path: str, act: Callable[[Request, Form], Awaitable[ASGIApp]]) -> Route:
    """A route for a form, whose token is checked before anything else."""

    async def endpoint(request: Request) -> ASGIApp:
        return await act(request, await read_form(request))

    return Route(path, endpoint, methods=["POST"])


def brought_routes(site: Site) -> Iterable[Route]:
    """The routes of the pages that other packages bring, behind the check of rights."""

    def page(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            await site.check_admin(request)
            return await answer(request)

        return endpoint

    def form(act: Act) -> Act:
        async def endpoint(request: Request, form: Form) -> Response:
            await site.check_admin(request)
            return await act(request, form)

        return endpoint

    for path, pages in ((each.path, each.pages) for each in site.brought):
        yield from (Route(f"{path}{below}", page(answer)) for below, answer in pages.pages.items())
        yield from (post(f"{path}{below}", form(act)) for below, act in pages.forms.items())
