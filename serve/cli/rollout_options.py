"""Options of `understudy rollout start`."""

from typing import Annotated

from typer import Option

Quality = Annotated[float | None, Option(help="The largest loss of accuracy: 0.02 is 2 points.")]
Agreement = Annotated[float | None, Option(help="The largest loss of agreement, against the parent's own.")]
Preference = Annotated[
    float | None, Option(help="The largest loss where answers differ, by labels, people or a judge.")
]
Errors = Annotated[float | None, Option(help="The largest share of failed requests.")]
Feedback = Annotated[float | None, Option(help="The lowest mean score of its answers, 0 to 1.")]
Latency = Annotated[
    str | None, Option(help="Objective in seconds and the lowest share of requests within it: 2.5:0.95.")
]
Cheaper = Annotated[bool, Option("--cheaper", help="Require a lower cost on its card than its parent's.")]
Segment = Annotated[float | None, Option(help="The largest loss in each segment.")]
GuardErrors = Annotated[float, Option(help="How much more often requests of its clients may fail.")]
GuardLatency = Annotated[float, Option(help="The largest ratio of its clients' p95 to the parent's.")]
GuardBlock = Annotated[float, Option(help="Seconds in which the latency of both is compared.")]
Least = Annotated[int, Option(help="The fewest requests of its own clients in a step.")]
Holdback = Annotated[float, Option(help="The share that its parent keeps after the last step.")]
Watch = Annotated[float, Option("--watch", help="How long it keeps that share, in seconds.")]
Deadline = Annotated[float, Option(help="When to end without a verdict, in seconds.")]
Budget = Annotated[int, Option(help="Compared requests after which to end without a verdict.")]
AgainstItself = Annotated[
    bool, Option("--aa", help="Compare the parent with itself, in shadow only; traffic never changes.")
]
Continues = Annotated[bool, Option("--continue", help="Keep the evidence of the rollout before.")]
AgainstCard = Annotated[
    str | None, Option(help="Why to begin although the card proves the variant worse; for the journal.")
]
