"""The page that exchanges an API key for a session."""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serve.console.forms import Form
from serve.console.protection import cookie_of
from serve.console.sessions import Session
from serve.console.site import Site
from serve.errors import Unauthorized


class SignIn:
    def __init__(self, site: Site) -> None:
        self.site = site

    async def page(self, request: Request) -> Response:
        return await self.shown(request, request.query_params.get("next", "/"))

    async def sign_in(self, request: Request, form: Form) -> Response:
        """Set the cookie and go to the page that was asked for. A wrong key is told on the page."""
        wanted = form.get("next", "/")
        try:
            session = self.site.sessions.sign_in(form.get("key", ""))
        except Unauthorized as error:
            return await self.shown(request, wanted, error.message, 401)
        return self.redirected(request, local(wanted), session)

    async def sign_out(self, request: Request, form: Form) -> Response:
        return self.redirected(request, "/sign-in", self.site.sessions.new())

    async def shown(self, request: Request, wanted: str, problem: str = "", status: int = 200) -> Response:
        values = {"wanted": local(wanted), "problem": problem, "has_keys": bool(self.site.server.keys)}
        return await self.site.render(request, "sign_in.html.j2", lambda: values, status)

    def redirected(self, request: Request, path: str, session: Session) -> Response:
        written = self.site.sessions.written(session)
        return RedirectResponse(path, 303, {"set-cookie": cookie_of(self.site.sessions, written, request)})


def local(path: str) -> str:
    """The path if it is one of this server; else that of the first page."""
    try:
        parts = urlsplit(path)
    except ValueError:  # such as //[
        return "/"
    is_own = not (parts.scheme or parts.netloc) and path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_own and path.isprintable() else "/"
