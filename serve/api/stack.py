"""What the operator changes: `/admin/v1/stack`, in the shape of OpenAI's errors.

GET     what is live, how the latest change is going, and how those before it went
POST    propose a stack; 202 when it is on its way, 200 for a dry run
DELETE  give up a change that has not taken effect yet, `{"change": number}` that one alone
"""

import json

from starlette.types import Receive, Scope, Send

from serve.api.http import parse_object, read_body, refuse, send_json
from serve.control.contract import Conducting
from serve.errors import NotReady, openai_body
from variants.errors import InputError, UnderstudyError


class StackRoute:
    """Hands on to the conductor, which decides."""

    def __init__(self, conductor: Conducting, body_limit: int) -> None:
        self.conductor, self.body_limit = conductor, body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, document = await self.answer(scope, receive)
            await send_json(send, status, json.dumps(document).encode())
        except UnderstudyError as error:
            await refuse(send, error, openai_body)

    async def answer(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, object]]:
        """Raises what the conductor raises; NotReady where it is away."""
        body = await read_body(scope, receive, self.body_limit)
        try:
            if scope["method"] == "POST":
                found = await self.conductor.propose(parse_object(body))
                return (202 if found["change"] else 200), found
            if scope["method"] == "DELETE":
                return 200, await self.conductor.cancel(number_of(parse_object(body)) if body else None)
            return 200, await self.conductor.state()
        except UnderstudyError:
            raise
        except Exception as error:  # whatever Ray raises for a replica that is starting or gone
            raise NotReady(f"the conductor is away: {error}", mend="try again shortly") from error


def number_of(document: dict[str, object]) -> int:
    """Of the change that is to be given up. Raises InputError."""
    number = document.get("change")
    if not isinstance(number, int) or isinstance(number, bool):
        raise InputError("is the number of a change", field="change", mend="as POST answered it")
    return number
