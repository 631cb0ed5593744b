"""How many times as fast a variant is as its parent, with an interval: both engines run and are asked in turns.

The load of the machine changes, so engines that are measured one after the other cannot be compared. Here each round
asks both engines the same examples, single requests first, then several at once. An engine that waits uses almost no
CPU.

The interval is from the fourth lowest to the fourth highest of fifteen rounds' ratios. It misses the median ratio 1
time in 28, whatever their distribution (H. A. David and H. N. Nagaraja 2003, "Order Statistics", section 7.1). A
disturbed round does not widen it.
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
"""About how many seconds each engine is asked in a round."""


async def side_by_side(
    ours: Predict,
    theirs: Predict,
    examples: Sequence[Example],
    one_s: float,
    rate: float,
    clients: int,
    progress: Progress,
) -> Speedup:
    """Ask both engines. `one_s`, the seconds that a request takes, and `rate`, the requests a second at saturation, are
    rough. They decide how many examples are asked."""
    single, full = _between(SINGLE_S / one_s, 2, 12), _between(FULL_S * rate, clients, 64)
    supply = itertools.cycle(examples)
    await _asked([ours, theirs], list(itertools.islice(supply, 2)), 1)
    ones: list[float] = []
    fulls: list[float] = []
    with progress.step("side by side with its parent", total=ROUNDS) as step:
        for number in range(ROUNDS):
            order = [ours, theirs] if number % 2 == 0 else [theirs, ours]
            for ratios, count, at_once in ((ones, single, 1), (fulls, full, clients)):
                seconds = await _asked(order, list(itertools.islice(supply, count)), at_once)
                ratios.append(seconds[theirs] / seconds[ours])
            step.to(number + 1)
    return Speedup(single=_ratio(ones), saturated=_ratio(fulls), rounds=ROUNDS)


async def passes_in_turns(ours: ForwardPass, theirs: ForwardPass, rate: float) -> Ratio:
    """The same for the forward pass alone. `rate` is about how many examples a second ours computes."""
    examples = SINGLE_S * rate
    ratios = []
    for number in range(ROUNDS):
        if number % 2 == 0:
            mine, other = await ours.rate(examples), await theirs.rate(examples)
        else:
            other, mine = await theirs.rate(examples), await ours.rate(examples)
        ratios.append(mine / other)
    return _ratio(ratios)


async def _asked(order: Sequence[Predict], examples: Sequence[Example], at_once: int) -> dict[Predict, float]:
    """The seconds that each takes for all examples, one `predict` after the other."""

    async def client(predict: Predict, waiting: Iterator[Example]) -> None:
        for example in waiting:
            await predict(example)

    seconds = {}
    for predict in order:
        began = time.perf_counter()
        waiting = iter(examples)
        async with together() as group:
            for _ in range(at_once):
                group.create_task(client(predict, waiting))
        seconds[predict] = time.perf_counter() - began
    return seconds


def _ratio(ratios: Sequence[float]) -> Ratio:
    ordered = sorted(ratios)
    return Ratio(value=statistics.median(ordered), low=ordered[LEFT_OUT], high=ordered[-1 - LEFT_OUT])


def _between(count: float, least: int, most: int) -> int:
    return max(least, min(most, round(count)))
