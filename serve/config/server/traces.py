"""`server.traces` of the stack file: where spans of requests are sent."""

from typing import Annotated

from pydantic import Field

from variants.document import Document


class Traces(Document):
    """`endpoint` is the address of an OTLP receiver over HTTP, such as http://127.0.0.1:4318. `share` is the part of
    the requests that is traced; a request whose caller traces it follows the caller."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9._\[\]:-]{1,255}(/[!-~]{0,1000})?$")]
    share: Annotated[float, Field(strict=True, gt=0, le=1)] = 1.0
