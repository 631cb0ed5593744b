"""What the operator changes: `/admin/v1/stack`, in the shape of OpenAI's errors.

GET     what is live, how the latest change is going, and how those before it went
POST    propose a stack; 202 when it is on its way, 200 for a dry run
DELETE  give up a change that has not taken effect yet, `{"change": number}` that one alone
"""

from starlette.requests import Request
from starlette.responses import Response

from serve.api.http import answer_json, parse_object, read_body
from serve.control.contract import ControllerClient
from variants.errors import InputError


class StackEndpoint:
    """Hands on to the controller, which decides."""

    def __init__(self, controller: ControllerClient, body_limit: int) -> None:
        self.controller, self.body_limit = controller, body_limit

    async def answer(self, request: Request) -> Response:
        """Raises what the controller raises."""
        if request.method in ("GET", "HEAD"):
            return answer_json(await self.controller.state())
        body = await read_body(request.scope, request.receive, self.body_limit)
        if request.method == "DELETE":
            return answer_json(await self.controller.cancel(number_of(parse_object(body)) if body else None))
        proposed = await self.controller.propose(parse_object(body))
        return answer_json(proposed, 202 if proposed["change"] else 200)


def number_of(document: dict[str, object]) -> int:
    """Of the change that is to be given up. Raises InputError."""
    number = document.get("change")
    if not isinstance(number, int) or isinstance(number, bool):
        raise InputError("is the number of a change", field="change", mend="as POST answered it")
    return number
