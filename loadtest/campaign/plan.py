"""What the worker is handed: every request that the campaign may send, decided before the first is sent.

A plan is plain data (it crosses a process boundary as one JSON line): pools of contents, and stages that
draw from them. It decides nothing that depends on how fast the server is, so the same campaign on the same
server plans the same load. `planner.py` makes it.
"""

from typing import Literal

from variants.document import Document

Kind = Literal["text", "label", "article", "image", "triplet", "boxes", "drawing"]


class Content(Document):
    """One thing to ask: a prompt, a picture (PNG bytes as base64), or several texts at once; `seed` with a
    prompt for a picture. `label`: what is right, if it is to be scored.
    """

    example: str
    text: str | None = None
    png: str | None = None
    texts: tuple[str, ...] | None = None
    seed: int | None = None
    label: str | None = None


class Pool(Document):
    """Contents of one kind for one model. `logit_bias`: token id -> bias, for kind label."""

    kind: Kind
    model: str
    task: str
    contents: tuple[Content, ...]
    max_tokens: int | None = None
    ignore_eos: bool = False
    logit_bias: dict[str, float] | None = None


class Lane(Document):
    """`clients` closed loops that share one pass through a pool, on one pinned variant.

    `at_end` says what happens after the pool's last content: stop; begin again (pictures, triplets, drawings: nothing
    caches them); or refuse (prompts: a second pass would be answered from the prefix cache).
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
    """New requests begin for `lead_in_s` + `seconds`; what happens in the last `seconds` of that is the
    slice.
    """

    lead_in_s: float
    seconds: float


class Stage(Document):
    """One stretch of load: either `arrivals` (open loop) or `lanes` (closed loops). `expected_s` is for
    progress only.
    """

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
