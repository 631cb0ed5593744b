"""Forms that a browser posts: read within limits, and only with the token of the session."""

from urllib.parse import parse_qsl

from starlette.requests import Request

from serve.api.http import read_body
from serve.console.sessions import check_token, session_of
from serve.errors import WrongMediaType

LIMIT = 2**20
"""The most bytes of a form: its largest field is a prompt."""
TOKEN = "token"  # noqa: S105  # the name of the field
Form = dict[str, str]


async def read_form(request: Request) -> Form:
    """The fields of a form; of two with one name, the last. Raises WrongMediaType, Forbidden, and as `read_body`."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise WrongMediaType("this is not a form", field="Content-Type", mend="use the console's pages")
    body = await read_body(request.scope, request.receive, LIMIT)
    form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    check_token(session_of(request.scope), form.pop(TOKEN, ""))
    return form
