"""The plan that the worker gets: every request that a campaign may send, decided before the first one.

A plan is plain data, passed to the worker process as one JSON line. It has pools of contents, and stages that take
contents from them. It does not depend on the server's speed, so a campaign always plans the same load for the same
server. `planner.py` makes it.
"""

from typing import Any, Literal

from pydantic import Field

from variants.document import Document
from variants.metrics.kinds import Generated

Kind = Literal["text", "label", "article", "image", "triplet", "pair", "boxes", "drawing"] | Generated


class Content(Document):
    """The content of one request: a prompt, a picture (PNG as base64), several texts, the messages of a chat (role and
    text), or a prompt and `seed` for a picture. `label` is the right answer, if the answer is to be scored."""

    example: str
    text: str | None = None
    png: str | None = None
    texts: tuple[str, ...] | None = None
    messages: tuple[tuple[str, str], ...] | None = None
    seed: int | None = None
    label: str | None = None


class Pool(Document):
    """Contents of one kind for one model. `logit_bias` is the bias by token id, for the kind label. `fields`
    are the task's own, for answers that are generated."""

    kind: Kind
    model: str
    task: str
    contents: tuple[Content, ...]
    max_tokens: int | None = None
    ignore_eos: bool = False
    logit_bias: dict[str, float] | None = None
    fields: dict[str, Any] = Field(default_factory=dict)


class Lane(Document):
    """`clients` closed loops that share one pass through a pool, with one pinned variant.

    After the pool's last content `at_end` makes them stop, begin again, or fail. Prompts must not come again, since the
    prefix cache would make their answers faster.
    """

    pool: str
    variant: str
    clients: int
    at_end: Literal["stop", "again", "refuse"]


class Arrival(Document):
    """One planned request of the open loop, `at_s` seconds after the stage begins."""

    at_s: float
    pool: str
    content: int
    client: str


class Window(Document):
    """New requests begin for `lead_in_s` + `seconds`. The slice is the last `seconds` of that."""

    lead_in_s: float
    seconds: float


class Stage(Document):
    """One part of the load: either `arrivals` (open loop) or `lanes` (closed loops). `expected_s` is for progress."""

    part: Literal["mixed", "accuracy", "speed", "warm-up"]
    text: str
    limit_s: float
    expected_s: float
    in_flight: int = 0
    arrivals: tuple[Arrival, ...] = ()
    lanes: tuple[Lane, ...] = ()
    window: Window | None = None
    slice: int | None = None


class Plan(Document):
    target_url: str
    timeout_s: float
    limit_s: float
    pools: dict[str, Pool]
    stages: tuple[Stage, ...]
