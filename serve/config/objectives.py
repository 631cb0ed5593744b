"""A model's service level objectives, for alerts (`deploy/prometheus/alerts.yml`)."""

from typing import Annotated

from pydantic import Field

from variants.document import Document


class Objectives(Document):
    """`availability` is the least share of requests that are answered. `ttft_s` is the longest time to the first token,
    in seconds, that 95 % of streamed requests must keep; None: any time."""

    availability: Annotated[float, Field(strict=True, ge=0.5, lt=1)] = 0.99
    ttft_s: Annotated[float, Field(strict=True, gt=0, le=128)] | None = None
