"""Segments of a model's requests: what a header of the client says of them."""

from typing import Annotated

from pydantic import Field

from variants.document import Document

EVERY_MODEL = ("length", "streamed", "task")
"""Segments that every model has: the quartile of the request's length, whether it is streamed, and its task."""
SegmentName = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{0,31}$")]


class Segment(Document):
    """A division of requests by the value of a header. Values that are not declared are `other`."""

    header: Annotated[str, Field(pattern="^[a-z0-9-]{1,64}$", description="the header's name in lower case")]
    values: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(min_length=1, max_length=16)
