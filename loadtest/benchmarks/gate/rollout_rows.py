"""Rows whose outcome is decided outside the gate too: by what a rollout counts, when it begins anew, and with what it
is compared. The controller's own classes carry out each run."""

from collections import Counter
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import numpy as np

from loadtest.benchmarks.gate.rollouts import (
    FAMILY,
    MODEL,
    ROOT,
    SOUND,
    VARIANT,
    Arm,
    Family,
    Simulation,
    carried_out,
    snapshot_of,
)  # fmt: skip
from loadtest.benchmarks.gate.row import DISCORDANCE, MARGIN, PARENT, Row
from loadtest.benchmarks.gate.traffic import NEVER, Bools, Numbers
from serve.control.pair_evidence import PairEvidence
from serve.control.rollout import Rollout, Search, next_of
from variants.evidence.gate import Context, Evidence, Gate, LatencyObjective, find, judge
from variants.evidence.paired import Paired

FAILS, LATE = Arm(failing=1.0), Arm(in_time=0.0, p95_s=3.0)
HALF: Family = ((ROOT, None, 1, 0.0), (VARIANT, ROOT, 1, 0.0))
REPLACED: Family = ((ROOT, None, 1, 0.0), (VARIANT, ROOT, 0, 0.5))
FOLLOWS: Family = ((ROOT, None, 0, 0.0), (VARIANT, ROOT, 1, 0.0), ("int4", ROOT, 0, 0.0))
CHAIN: Family = ((ROOT, None, 1, 0.0), (VARIANT, ROOT, 0, 0.0), ("int4", VARIANT, 0, 0.0))
SHADOW: dict[str, Any] = {"steps": ["shadow"], "hold_s": 0}
AT_50: dict[str, Any] = {"steps": [50], "hold_s": 0, "watch_s": 0}
ON_TIME = LatencyObjective(objective_s=1.0, share=0.9)
IN_TIME = Gate(quality=MARGIN, latency=ON_TIME)
DIFFERING = 0.03
"""The share of requests that only the variant gets right."""


def variant_is(arm: Arm, at: float = 0) -> Callable[[Rollout], Mapping[str, Arm]]:
    """How the variant answers from a step of so many percent on."""

    def arms(rollout: Rollout) -> Mapping[str, Arm]:
        step = rollout.plan.steps[rollout.step]
        return {VARIANT: arm if step != "shadow" and step >= at else SOUND}

    return arms


def clients_fail(simulation: Simulation) -> str:
    """Every request of the variant's clients fails, after a shadow step without a fault."""
    simulation.start(hold_s=0)
    return simulation.carry_on(30, variant_is(FAILS), discordance=0.02)


def cheapest_fails(simulation: Simulation) -> str:
    """The same in a search for the cheapest variant, which once went from the shadow step to all of the traffic."""
    plan = Search(objective="cheapest", hold_s=0).plan(VARIANT, 1)
    simulation.begin(MODEL, plan, ROOT, "the simulation")
    return simulation.carry_on(30, variant_is(FAILS), discordance=0.02)


def late_at_full_load(simulation: Simulation) -> str:
    """The variant is in time at 10 % of the traffic, and late at all of it."""
    gate = {"quality": MARGIN, "latency": {"objective_s": 1.0, "share": 0.8}}
    simulation.start(steps=[10, 100], hold_s=0, gate=gate)
    return simulation.carry_on(90, variant_is(LATE, 100), compared=30, discordance=0.0)


def fails_later(simulation: Simulation) -> str:
    """A tenth of the requests of the variant's clients fails from the 21st minute of a step on, after 6,000 sound
    ones."""
    simulation.start(steps=[10, 100], hold_s=3600)
    simulation.carry_on(20, compared=30)
    return simulation.carry_on(20, variant_is(Arm(failing=0.1)), compared=30)


def engine_replaced(simulation: Simulation) -> str:
    """600 requests without a difference, and then another engine of the variant, whose loss is the margin."""
    simulation.start(steps=["shadow"])
    simulation.carry_on(5, discordance=0.0)
    simulation.replace(snapshot_of(REPLACED))
    simulation.start(**SHADOW, continues=True)
    return simulation.carry_on(5, compared=360, difference=-MARGIN)


def is_ratio_broken(simulation: Simulation) -> bool:
    return simulation.rollout.open and simulation.state.pair(simulation.rollout.pair).evidence.assignments.is_broken()


def fails_while_ratio_is_broken(simulation: Simulation) -> str:
    """The variant gets half again as many clients as it is due. Then all of its requests fail."""
    simulation.start(steps=[50, 100])
    simulation.carry_on(2, skew=1.5)
    assert is_ratio_broken(simulation)
    return simulation.carry_on(30, variant_is(FAILS), skew=1.5)


def after_a_broken_ratio(simulation: Simulation) -> str:
    """An equal variant whose rollout was aborted, since assignments did not follow the weights, begins anew."""
    simulation.start(**SHADOW)
    simulation.carry_on(3, skew=1.5, compared=60)
    assert is_ratio_broken(simulation)
    simulation.steer(MODEL, "abort", "the simulation")
    simulation.start(**SHADOW)
    return simulation.carry_on(20, compared=360, discordance=0.02)


def tried_again(simulation: Simulation) -> str:
    """An equal variant that was rolled back for an outage begins anew."""
    simulation.start(**AT_50)
    simulation.carry_on(10, variant_is(FAILS))
    assert simulation.rollout.status == "rolled back"
    simulation.start(**AT_50)
    return simulation.carry_on(60, discordance=0.02)


def lost_before(simulation: Simulation) -> str:
    """The variant that serves, or from which this one is made, loses the margin. This one is equal to it."""
    simulation.start("int4", **SHADOW)
    difference, discordance = {ROOT: (-MARGIN, DISCORDANCE), VARIANT: (0.0, 0.02)}[simulation.rollout.parent]
    return simulation.carry_on(5, compared=360, difference=difference, discordance=discordance)


def bursts(length_s: int) -> Callable[[np.random.Generator, int], tuple[Numbers, Numbers]]:
    """Half of the requests come in a fiftieth of the time, in bursts of so many seconds. All of them are late, and all
    others in time. It is judged every five minutes, for four hours."""

    def decide(random: np.random.Generator, runs: int) -> tuple[Numbers, Numbers]:
        promoted, rolled_back = np.full(runs, NEVER), np.full(runs, NEVER)
        for run in range(runs):
            second = np.arange(4 * 3600) + random.integers(0, 50 * length_s)
            late = second // length_s % 50 == 0
            requests = random.poisson(np.where(late, 490, 10))
            of_blocks = zip(requests.reshape(-1, 60).sum(axis=1), (requests * ~late).reshape(-1, 60).sum(axis=1),
                            strict=True)  # fmt: skip
            counted = PairEvidence()
            for block, (every, within) in enumerate(of_blocks, 1):
                minute = [1, ON_TIME.objective_s, block, int(every), int(within), 0.5, 0.5]
                counted.count_served(None, {"minutes": [minute]}, IN_TIME)
                if block % 5:
                    continue
                state = find(IN_TIME, "latency", counted.judged_by(IN_TIME), Context()).state
                if state != "open":
                    (promoted if state == "holds" else rolled_back)[run] = block
                    break
        return promoted, rolled_back

    return decide


def at_floor(random: np.random.Generator, runs: int) -> tuple[Numbers, Numbers, Bools]:
    """Exactly 98 % of the parent's quality remain, and 98 % are asked for. It is judged after each tenth more pairs."""
    rollouts = [ended_at_floor(random) for _ in range(runs)]
    promoted, rolled_back = (
        np.array([compared if rollout.status == status else NEVER for rollout, compared in rollouts])
        for status in ("promoted", "rolled back")
    )
    return promoted, rolled_back, np.array([rollout.open for rollout, _ in rollouts])


def ended_at_floor(random: np.random.Generator) -> tuple[Rollout, int]:
    """A rollout of a search after its end or twice its budget of pairs, and the number of its pairs."""
    plan = Search(objective="cheapest", hold_s=0, watch_s=0).plan(VARIANT, 1).model_copy(update={"steps": ("shadow",)})
    rollout = Rollout(plan, ROOT, ("a" * 64, "b" * 64), snapshot_of(FAMILY).traffic[MODEL].traffic)
    floor = plan.gate.floor or 1.0
    worse = PARENT * (1 - floor) + DIFFERING
    values = [(1.0, 1.0), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0)]
    chances = [PARENT - worse, 1 - PARENT - DIFFERING, worse, DIFFERING]
    counts, paired = Counter[tuple[float, float]](), Paired()
    while rollout.open and counts.total() < 2 * plan.budget:
        more = random.multinomial(max(500, counts.total() // 10), chances).tolist()
        counts.update(dict(zip(values, more, strict=True)))
        paired.by_request = paired.distinct = counts
        paired.contrasts = Counter({(own - other, other): times for (own, other), times in counts.items()})
        verdict = judge(plan.gate, Evidence(quality=paired), Context(contrast_on_card=PARENT))
        rollout = next_of(rollout, verdict, inf, paired.n, 0.0)
    return rollout, counts.total()


ROLLOUTS = [
    Row("1: all requests of its clients fail after a clean shadow", carried_out(clients_fail), live=True),
    Row("1: the same in a search for the cheapest", carried_out(cheapest_fails), live=True),
    Row("2: late at all of the traffic, in time at a tenth", carried_out(late_at_full_load), live=True),
    Row("2: a tenth fails after 6,000 sound requests", carried_out(fails_later), ("promoted", "withheld"), live=True),
    Row("2: an engine is replaced, at the margin", carried_out(engine_replaced), live=True),
    Row("5: all requests fail while the sample ratio is broken", carried_out(fails_while_ratio_is_broken, HALF),
        ("promoted", "withheld"), live=True),
    Row("5: equal, begun anew after a broken sample ratio", carried_out(after_a_broken_ratio, HALF), ("withheld",),
        limit=0.10, live=True),
    Row("8: half of the requests, in bursts of a minute, are late", bursts(60), live=True),
    Row("9: exactly at the floor", at_floor, ("promoted", "rolled_back", "waits"), live=True),
    Row("9: equal, tried again after an outage", carried_out(tried_again), ("rolled_back",), live=True),
    Row("12: follows one that lost the margin, and is equal to it", carried_out(lost_before, FOLLOWS), live=True),
    Row("12: is made from one that lost the margin, and is equal to it", carried_out(lost_before, CHAIN), live=True),
]  # fmt: skip
