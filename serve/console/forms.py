"""Forms that a browser posts: read within limits, and only with the token of the session."""

from urllib.parse import parse_qsl

from starlette.requests import Request

from serve.console.sessions import check_token, session_of
from serve.errors import TooLarge, WrongMediaType

LIMIT = 2**20
"""The most bytes of a form: its largest field is a prompt."""
TOKEN = "token"  # noqa: S105  # the name of the field
Form = dict[str, str]


async def read_form(request: Request) -> Form:
    """The fields of a form; of two with one name, the last. Raises TooLarge, WrongMediaType, Forbidden."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise WrongMediaType("this is not a form", field="Content-Type", mend="use the console's pages")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LIMIT:
            raise TooLarge(f"the form has more than {LIMIT} bytes")
    form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    check_token(session_of(request.scope), form.pop(TOKEN, ""))
    return form
