"""A variant's engine and its parent's, asked in turns: how many times as fast the variant is, with an interval.

Measured one after the other, two engines meet two moments of a machine, and a neighbour makes one of them look slow. So
both are up, and each round asks both the same examples, single requests first, then 8 at once. The interval is from
the fourth lowest to the fourth highest of fifteen rounds' ratios: it misses the median ratio 1 time in 28, whatever
their distribution (H. A. David and H. N. Nagaraja 2003, "Order Statistics", section 7.1), and a disturbed round does
not widen it. An engine that waits uses next to no CPU.
"""

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence

from serve.evaluation.forward_pass import ForwardPass
from variants.artifacts.card import Ratio, Speedup
from variants.concurrency import together
from variants.evaluation.evaluate import Predict
from variants.progress import Progress
from variants.tasks import Example

ROUNDS, LEFT_OUT = 15, 3
SINGLE_S, FULL_S = 0.3, 0.6
"""About how long a variant is asked in each round."""


async def side_by_side(
    ours: Predict,
    theirs: Predict,
    examples: Sequence[Example],
    one_s: float,
    rate: float,
    clients: int,
    progress: Progress,
) -> Speedup:
    """Ask both. `one_s` is about how long a request takes, `rate` how many a second there are at saturation: they
    say how many are asked."""
    single, full = _between(SINGLE_S / one_s, 2, 12), _between(FULL_S * rate, clients, 64)
    supply = itertools.cycle(examples)
    await _asked([ours, theirs], list(itertools.islice(supply, 2)), 1)
    ones: list[float] = []
    fulls: list[float] = []
    with progress.step("side by side with its parent", total=ROUNDS) as step:
        for number in range(ROUNDS):
            order = [ours, theirs] if number % 2 == 0 else [theirs, ours]
            for found, count, at_once in ((ones, single, 1), (fulls, full, clients)):
                seconds = await _asked(order, list(itertools.islice(supply, count)), at_once)
                found.append(seconds[theirs] / seconds[ours])
            step.to(number + 1)
    return Speedup(single=_ratio(ones), saturated=_ratio(fulls), rounds=ROUNDS)


async def passes_in_turns(ours: ForwardPass, theirs: ForwardPass, rate: float) -> Ratio:
    """The same, of the forward pass alone; `rate` is about how many examples a second ours computes."""
    examples = SINGLE_S * rate
    found = []
    for number in range(ROUNDS):
        if number % 2 == 0:
            mine, other = await ours.rate(examples), await theirs.rate(examples)
        else:
            other, mine = await theirs.rate(examples), await ours.rate(examples)
        found.append(mine / other)
    return _ratio(found)


async def _asked(order: Sequence[Predict], examples: Sequence[Example], at_once: int) -> dict[Predict, float]:
    """Seconds that each takes for all of the examples, in turn."""
    seconds = {}
    for predict in order:
        began = time.perf_counter()
        waiting = iter(examples)
        async with together() as group:
            for _ in range(at_once):
                group.create_task(_client(predict, waiting))
        seconds[predict] = time.perf_counter() - began
    return seconds


async def _client(predict: Predict, waiting: Iterator[Example]) -> None:
    for example in waiting:
        await predict(example)


def _ratio(found: Sequence[float]) -> Ratio:
    ordered = sorted(found)
    return Ratio(value=statistics.median(found), low=ordered[LEFT_OUT], high=ordered[-1 - LEFT_OUT])


def _between(count: float, least: int, most: int) -> int:
    return max(least, min(most, round(count)))
