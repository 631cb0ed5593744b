"""`/admin/v1/stack`: read and change the stack. Errors have OpenAI's format.

GET     the live stack, the state of the latest change, and the results of earlier changes
POST    propose a stack; 202 when the change has begun, 200 for a dry run
DELETE  cancel a change that has not taken effect yet; `{"change": number}` cancels only that one
"""

from starlette.requests import Request
from starlette.responses import Response

from serve.api.http import answer_json, parse_object, read_body, read_object
from serve.control.contract import ControllerClient
from variants.errors import InputError


class StackEndpoint:
    """Passes requests on to the controller, which decides."""

    def __init__(self, controller: ControllerClient, body_limit: int) -> None:
        self.controller, self.body_limit = controller, body_limit

    async def answer(self, request: Request) -> Response:
        """Raises what the controller raises."""
        if request.method in ("GET", "HEAD"):
            return answer_json(await self.controller.state())
        if request.method == "DELETE":
            body = await read_body(request.scope, request.receive, self.body_limit)
            return answer_json(await self.controller.cancel(number_of(parse_object(body)) if body else None))
        _, document = await read_object(request.scope, request.receive, self.body_limit)
        proposed = await self.controller.propose(document)
        return answer_json(proposed, 202 if proposed["change"] else 200)


def number_of(document: dict[str, object]) -> int:
    """The number of the change to cancel. Raises InputError."""
    number = document.get("change")
    if not isinstance(number, int) or isinstance(number, bool):
        raise InputError("is not a whole number", field="change", mend="send the number that POST answered")
    return number
