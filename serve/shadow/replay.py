"""One replay: a sampled request whose answer is to be compared with another variant's."""

import time
from dataclasses import dataclass, field
from typing import Protocol

from serve.dataplane.call import Call, Reply
from serve.dataplane.upstream import Upstream
from serve.shadow.sampling import Label, Sample


class ScoredAnswer(Protocol):
    """A protocol's answer that has been kept whole."""

    def outcome(self, label: Label) -> float | None:
        """How right the answer is, 0 to 1; None where that cannot be said."""

    def answered(self) -> tuple[str, int]:
        """The text of the answer and its number of tokens; of no use for tensors."""

    def again(self, reply: Reply) -> "ScoredAnswer":
        """An answer of the same kind from another engine's reply."""

    def reply(self) -> Reply:
        """The answer as the engine gave it."""


@dataclass
class Replay:
    sample: Sample
    call: Call
    answer: ScoredAnswer
    parent: Upstream
    variant: Upstream
    since: float = field(default_factory=time.monotonic)
    asking: Upstream | None = None


def right(replay: Replay) -> float | None:
    """How right the client's answer was; None where that cannot be said."""
    if replay.sample.label is None or not labelled(replay):
        return None
    return replay.answer.outcome(replay.sample.label) if replay.call.status == 200 else 0.0


def labelled(replay: Replay) -> bool:
    """Whether it is compared by what is right. Tokens of a stream carry no likelihoods of labels."""
    return replay.sample.label is not None and not replay.call.streamed
