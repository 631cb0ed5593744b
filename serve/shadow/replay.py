"""A replay: a sampled request whose answer is compared with another variant's."""

import time
from dataclasses import dataclass, field
from typing import Protocol

from serve.dataplane.call import Call, Reply
from serve.dataplane.upstream import Upstream
from serve.shadow.sampling import Label, Sample


class ScoredAnswer(Protocol):
    """A protocol's complete answer; `body` is what is kept of it."""

    body: bytearray

    def outcome(self, label: Label) -> float | None:
        """Score of the answer, 0 to 1; None where it cannot be scored."""

    def answered(self) -> tuple[str, int]:
        """The text of the answer and its number of tokens; not used for tensors."""

    def again(self, reply: Reply) -> "ScoredAnswer":
        """An answer of the same kind from another engine's reply."""

    def reply(self) -> Reply:
        """The unchanged answer of the engine."""


@dataclass
class Replay:
    sample: Sample
    call: Call
    answer: ScoredAnswer
    parent: Upstream
    variant: Upstream
    since: float = field(default_factory=time.monotonic)
    asking: Upstream | None = None

    @property
    def kept(self) -> int:
        """Bytes that a waiting replay keeps: the request, what is made of it for an engine, and the answer."""
        return 2 * self.call.size + len(self.answer.body)


def right(replay: Replay) -> float | None:
    """Score of the client's answer, 0 to 1; None where it cannot be scored."""
    if replay.sample.label is None or not labelled(replay):
        return None
    return replay.answer.outcome(replay.sample.label) if replay.call.status == 200 else 0.0


def labelled(replay: Replay) -> bool:
    """Whether both answers are scored by the label. Streams are not: their tokens carry no likelihoods of labels."""
    return replay.sample.label is not None and not replay.call.streamed
