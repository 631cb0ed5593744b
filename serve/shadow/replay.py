"""A replay: a sampled request whose answer is compared with another variant's."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from serve import traces
from serve.dataplane.call import Call, Reply
from serve.dataplane.upstream import Upstream
from serve.shadow.sampling import Label, Sample
from variants.errors import EngineError
from variants.evidence.free_running import FreeAnswer, is_same


class ScoredAnswer(Protocol):
    """A protocol's complete answer; `body` is what is kept of it. `dropped`: nothing is, because all requests held too
    much memory."""

    body: bytearray

    @property
    def dropped(self) -> bool: ...

    def outcome(self, label: Label) -> float | None:
        """Score of the answer, 0 to 1; None where it cannot be scored."""

    def answered(self) -> tuple[FreeAnswer, int]:
        """The answer and its number of tokens; not used for tensors."""

    def again(self, reply: Reply) -> "ScoredAnswer":
        """An answer of the same kind from another engine's reply."""

    def reply(self) -> Reply:
        """The unchanged answer of the engine."""


class Lost(EngineError):
    """A pair has no outcome, for a stated reason."""


@dataclass
class Replay:
    """`asking` is the engine asked last, with `scoring` if no client sends such a request. `asked_variant`: the replay
    has asked the variant. `begun`: it was admitted. `answers` are the variant's and its parent's, where both are texts
    or classes, `prompt` is what was asked as a text. `trace` is the context of the client's request."""

    sample: Sample
    call: Call
    answer: ScoredAnswer
    parent: Upstream
    variant: Upstream
    segments: Mapping[str, str] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)
    asking: Upstream | None = None
    scoring: bool = False
    asked_variant: bool = False
    begun: bool = False
    trace: Any = field(default_factory=traces.here)
    answers: tuple[FreeAnswer, FreeAnswer] | None = None
    prompt: str | None = None

    @property
    def same(self) -> bool | None:
        """Whether both answers are the same; None where they are not known as texts."""
        return None if self.answers is None else is_same(*self.answers)

    @property
    def kept(self) -> int:
        """Bytes that a waiting replay keeps: the request, what is made of it for an engine, and the answer."""
        return 2 * self.call.size + len(self.answer.body)

    @property
    def by_variant(self) -> bool:
        """Whether the variant answered the client. A parent that is compared with itself answers as the parent."""
        return self.call.upstream is self.variant and self.variant is not self.parent

    @property
    def by_third(self) -> bool:
        """Whether neither of both answered the client."""
        return self.call.upstream not in (self.parent, self.variant)

    @property
    def other(self) -> Upstream:
        """The one of both that did not answer the client; the variant if neither did."""
        return self.parent if self.by_variant else self.variant

    @property
    def label(self) -> Label | None:
        """The label by which both answers are scored. Streams are not: their tokens carry no likelihoods of labels."""
        return None if self.call.streamed else self.sample.label
