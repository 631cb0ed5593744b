"""Which variant to serve: the one that costs least among those that keep enough quality and answer in time.

A condition of a variant holds where all of its interval does, fails where none of it does, and is else unknown. Where
the cost of another variant that fits could be as low, as their intervals say, nothing is recommended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from variants.evidence.intervals import Interval, wilson

State = Literal["holds", "fails", "cannot tell"]
WITHIN = 0.95
"""The share of requests that must meet an objective."""
ONE = Interval(1, 1, 1)


@dataclass(frozen=True)
class Candidate:
    """A variant's figures: the shares of the baseline's `quality`, of its `cost` in engine-seconds, and of the requests
    that meet the objective (`within`). None where a figure was not measured."""

    variant: str
    quality: Interval | None
    cost: Interval | None
    within: Interval | None = None


@dataclass(frozen=True)
class Recommendation:
    """`variant` is None where none can be told. `tied` have costs that overlap with the least cost of all that fit.
    `open` might cost less than all that fit, and it is not known whether they fit. `states` has, by variant, the state
    of each condition."""

    variant: str | None
    tied: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    states: Mapping[str, Mapping[str, State]] = field(default_factory=dict)


def recommend(candidates: Sequence[Candidate], floor: float, has_objective: bool) -> Recommendation:
    """`floor` is the least share of quality to keep."""
    states: dict[str, dict[str, State]] = {}
    for each in candidates:
        states[each.variant] = {"quality": state_of(each.quality, floor)}
        if has_objective:
            states[each.variant]["objective"] = state_of(each.within, WITHIN)
    priced = [(each, each.cost) for each in candidates if each.cost is not None]
    fitting = [(each, cost) for each, cost in priced if set(states[each.variant].values()) == {"holds"}]
    possible = [(each, cost) for each, cost in priced if "fails" not in states[each.variant].values()]
    if not fitting:
        return Recommendation(None, open=tuple(each.variant for each, _ in possible), states=states)
    best, least = min(fitting, key=lambda pair: pair[1].value)
    tied = tuple(each.variant for each, cost in fitting if each is not best and cost.low <= least.high)
    unknown = [(each, cost) for each, cost in possible if "cannot tell" in states[each.variant].values()]
    still_open = tuple(each.variant for each, cost in unknown if cost.low <= least.high)
    if tied:
        return Recommendation(None, (best.variant, *tied), still_open, states)
    return Recommendation(best.variant, (), still_open, states)


def state_of(measured: Interval | None, least: float) -> State:
    """Whether a figure is at least `least`."""
    if measured is None or measured.low < least <= measured.high:
        return "cannot tell"
    return "holds" if measured.low >= least else "fails"


def product(first: Interval | None, second: Interval | None) -> Interval | None:
    """The product of two positive figures. Its interval holds whenever both intervals do."""
    if first is None or second is None:
        return None
    return Interval(first.value * second.value, first.low * second.low, first.high * second.high)


def share_within(seconds: Sequence[float], limit_s: float) -> Interval | None:
    """The share of requests below the limit, with Wilson's interval; None without requests."""
    return wilson(sum(each < limit_s for each in seconds), len(seconds)) if seconds else None


def share_by_quantiles(quantiles: Mapping[float, float], n: int, limit_s: float) -> Interval | None:
    """The same where only quantiles in seconds of `n` requests are known: the share lies between the largest quantile
    below the limit and the next one."""
    if n <= 0:
        return None
    below = max((share for share, value in quantiles.items() if value < limit_s), default=0.0)
    above = min((share for share, value in quantiles.items() if value >= limit_s), default=1.0)
    fewest, most = wilson(int(below * n), n), wilson(ceil(above * n), n)
    return Interval(below, fewest.low, most.high)
