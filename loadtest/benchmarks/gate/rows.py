"""Rows that draw outcomes for many rollouts at once, and judge them by the functions of the gate."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from loadtest.benchmarks.gate import traffic
from loadtest.benchmarks.gate.row import DISCORDANCE, GATE, MARGIN, ON_CARD, PARENT, Row
from loadtest.benchmarks.gate.traffic import NEVER, Bools, Numbers, Pairs, drawn
from variants.evidence.betting import Bets, Tally, is_above, is_below
from variants.evidence.gate import Context, Gate, promotion_alpha
from variants.evidence.guard import START
from variants.evidence.paired import bets_on
from variants.evidence.segments import SUSPICION

SAMPLE = Gate(quality=MARGIN, clients="sample")
PHASES = 5
"""Four steps and the watch after them."""
STEP = 720
"""Pairs in the six minutes of a step (`hold_s`), at two a second."""
Draw = Callable[[np.random.Generator, int, int], Pairs]
Floats = NDArray[np.float64]


def judged(draw: Draw, pairs: int, gate: Gate = GATE) -> Callable[[np.random.Generator, int], tuple[Numbers, Numbers]]:
    """Judges drawn pairs by a gate on quality."""
    return lambda random, runs: traffic.verdicts(draw(random, runs, pairs), gate, ON_CARD)


def honest(difference: float, discordance: float = DISCORDANCE) -> Draw:
    def draw(random: np.random.Generator, runs: int, pairs: int) -> Pairs:
        return Pairs(*drawn(random, (runs, pairs), PARENT, difference, discordance))

    return draw


def junk(share: float, difference: float) -> Draw:
    """That share of labels is right for no answer."""

    def draw(random: np.random.Generator, runs: int, pairs: int) -> Pairs:
        d, contrast = drawn(random, (runs, pairs), PARENT, difference, max(DISCORDANCE, -difference))
        wrong = random.random(d.shape) < share
        d[wrong], contrast[wrong] = 0, 0
        return Pairs(d, contrast)

    return draw


def one_client(random: np.random.Generator, runs: int, pairs: int) -> Pairs:
    """One client sends nine tenths of the labels, and all of its labels are junk. The others are 1,000 clients."""
    d, contrast = drawn(random, (runs, pairs), PARENT, -2 * MARGIN, DISCORDANCE)
    clients = random.integers(1, 1001, d.shape)
    clients[random.random(d.shape) < 0.9] = 0
    d[clients == 0], contrast[clients == 0] = 0, 0
    return Pairs(d, contrast, counts=traffic.admitted(clients, GATE.client_share))


def always_wrong(random: np.random.Generator, runs: int, pairs: int) -> Pairs:
    nothing = np.zeros((runs, pairs), dtype=np.int8)
    return Pairs(nothing, nothing.copy())


def hard_tenth(random: np.random.Generator, runs: int, pairs: int) -> Pairs:
    """A hard tenth loses 30 points, and nine tenths of its pairs come to nothing."""
    hard = random.random((runs, pairs)) < 0.1
    easy, contrast = drawn(random, (runs, pairs), PARENT, 0.0, 0.05)
    worse, _ = drawn(random, (runs, pairs), PARENT, -0.3, 0.4)
    return Pairs(np.where(hard, worse, easy), contrast, lost=hard & (random.random(hard.shape) < 0.9))


def parent_times_out(random: np.random.Generator, runs: int, pairs: int) -> Pairs:
    """The variant loses 4 points. Its parent does not answer 5 % of the requests."""
    d, contrast = drawn(random, (runs, pairs), PARENT, -0.04, DISCORDANCE)
    return Pairs(d, contrast, lost=random.random(d.shape) < 0.05)


def variant_times_out(random: np.random.Generator, runs: int, pairs: int) -> Pairs:
    """The variant has all of the traffic and does not answer 5 % of the requests. Its answers are as good."""
    d, contrast = drawn(random, (runs, pairs), PARENT, 0.0, DISCORDANCE)
    return Pairs(d, contrast, lost=random.random(d.shape) < 0.05)


def one_prompt(random: np.random.Generator, runs: int, pairs: int) -> Pairs:
    """Half of the requests are one prompt, which only the variant gets wrong."""
    d, contrast = drawn(random, (runs, pairs), PARENT, 0.0, DISCORDANCE)
    same = random.random(d.shape) < 0.5
    d[same], contrast[same] = -1, 1
    return Pairs(d, contrast, repeated=same & (np.cumsum(same, axis=1) > 1))


def frequent_prompt(random: np.random.Generator, runs: int, pairs: int) -> Pairs:
    """Half of the requests are one prompt, which both answer alike. The distinct ones lose the margin, so the mean by
    request loses half of it."""
    d, contrast = drawn(random, (runs, pairs), PARENT, -MARGIN, DISCORDANCE)
    same = random.random(d.shape) < 0.5
    d[same], contrast[same] = 0, 1
    return Pairs(d, contrast, repeated=same & (np.cumsum(same, axis=1) > 1))


def pareto_clients(random: np.random.Generator, runs: int, pairs: int) -> Pairs:
    """Clients come one after another, with numbers of requests by Pareto's law (1.2). A tenth of them loses 40 points,
    the others gain 2.2, so the mean over clients is the margin."""
    clients = np.zeros((runs, pairs), dtype=np.int64)
    loses = np.zeros((runs, pairs), dtype=bool)
    for run in range(runs):
        sizes = np.ceil(random.pareto(1.2, pairs) + 1).astype(np.int64)
        clients[run] = np.repeat(np.arange(pairs), np.minimum(sizes, pairs))[:pairs]
        loses[run] = (random.random(pairs) < 0.1)[clients[run]]
    worse, contrast = drawn(random, (runs, pairs), PARENT, -0.4, 0.45)
    better, _ = drawn(random, (runs, pairs), PARENT, 0.0222, 0.07)
    counts = traffic.admitted(clients, GATE.client_share)
    first = np.ones_like(counts)
    first[:, 1:] = clients[:, 1:] != clients[:, :-1]
    return Pairs(np.where(loses, worse, better), contrast, counts=counts, first=first)


def regimes(random: np.random.Generator, runs: int) -> tuple[Numbers, Numbers]:
    """Quality changes every 1,000 pairs: 3 points better, then 7 worse, so its mean is the margin."""
    pairs, length = 10_000, 1000
    phase = random.integers(0, 2 * length, (runs, 1))
    good = (np.arange(pairs) + phase) // length % 2 == 0
    better, contrast = drawn(random, good.shape, PARENT, 0.03, DISCORDANCE)
    worse, _ = drawn(random, good.shape, PARENT, -0.07, 0.12)
    passed, broken = traffic.looks(Pairs(np.where(good, better, worse), contrast), GATE, ON_CARD)
    return through_steps(passed), traffic.first(broken)


def through_steps(passed: Bools) -> Numbers:
    """The pairs after which a rollout has passed its four steps. `passed` (runs, looks) says where the gate passes. A
    step lasts at least `STEP` pairs."""
    promoted = np.full(len(passed), NEVER)
    for run, looks in enumerate(passed):
        at = 0
        for lasts in (0, STEP, STEP, STEP):
            later = np.flatnonzero(looks[at + lasts // traffic.EVERY :])
            if not len(later):
                break
            at += lasts // traffic.EVERY + int(later[0])
        else:
            promoted[run] = (at + 1) * traffic.EVERY
    return promoted


def twenty_builds(random: np.random.Generator, runs: int) -> tuple[Numbers, Numbers]:
    """Twenty builds under one name, each exactly at the margin. Promoted: any of them is."""
    promoted = np.full(runs, NEVER)
    for attempt in range(20):
        gate = GATE.model_copy(update={"alpha": promotion_alpha(GATE, Context(attempt=attempt + 1))})
        d, contrast = drawn(random, (runs, 3000), PARENT, -MARGIN, DISCORDANCE)
        once, _ = traffic.verdicts(Pairs(d, contrast), gate, ON_CARD)
        promoted = np.minimum(promoted, once)
    return promoted, np.full(runs, NEVER)


def small_segment(random: np.random.Generator, runs: int) -> tuple[Numbers, Numbers]:
    """3 % of the requests lose 40 points: 1.2 points in the mean, inside the margin. They are a declared segment."""
    pairs = 6000
    inside = random.random((runs, pairs)) < 0.03
    easy, contrast = drawn(random, (runs, pairs), PARENT, 0.0, DISCORDANCE)
    worse, _ = drawn(random, (runs, pairs), PARENT, -0.4, 0.5)
    d = np.where(inside, worse, easy)
    _, rolled_back = traffic.verdicts(Pairs(d, contrast), GATE, ON_CARD)
    proven = traffic.below(traffic.seen(d, inside), None, -MARGIN, SUSPICION / 2)
    passed, _ = traffic.looks(Pairs(d, contrast), GATE, ON_CARD)
    return through_steps(passed & ~proven), rolled_back


def seconds(random: np.random.Generator, runs: int, length: int, parent: float, variant: float, burst: int = 1,
            outage: float = 0.0) -> tuple[Floats, Floats, NDArray[np.int64]]:  # fmt: skip
    """The failed share of parent and variant in each second, and the variant's requests: five requests a second of
    each. Failures come `burst` at a time, or for both arms alike in an outage."""
    of_parent, of_variant = (random.poisson(5, (runs, length)) for _ in range(2))
    both = random.random((runs, length)) < outage

    def failed(requests: NDArray[np.int64], rate: float) -> Floats:
        if burst == 1:
            times = random.binomial(requests, rate)
        else:
            times = np.minimum(requests, burst * (random.random(requests.shape) < rate * requests / burst))
        share: Floats = np.where(requests > 0, times / np.maximum(requests, 1), 0.0)
        return np.where(both & (requests > 0), 1.0, share)

    return failed(of_parent, parent), failed(of_variant, variant), of_variant


def guard_on_errors(parent: Floats, variant: Floats, limit: float = 0.01, before: Floats | None = None) -> Numbers:
    """The second after which the guard on errors finds harm (`Arms.add_second`). The parent's seconds `before` the step
    are known."""
    earlier = np.zeros((len(parent), 0)) if before is None else before
    failed = START + earlier.sum(axis=1, keepdims=True) + np.cumsum(parent, axis=1)
    so_far = failed / (2.0 + earlier.shape[1] + np.arange(parent.shape[1]))
    return traffic.harmed_after(variant, np.minimum(0.999, np.maximum(so_far, parent) + limit), GATE.alpha_step(PHASES))


def errors_in_bursts(random: np.random.Generator, runs: int) -> tuple[Numbers, Numbers]:
    """Both arms fail at 2.5 %, ten requests at a time."""
    parent, variant, _ = seconds(random, runs, 2000, 0.025, 0.025, burst=10)
    return np.full(runs, NEVER), guard_on_errors(parent, variant)


def common_outages(random: np.random.Generator, runs: int) -> tuple[Numbers, Numbers]:
    """In 1 % of the seconds nothing answers, whichever variant was asked."""
    parent, variant, _ = seconds(random, runs, 2000, 0.001, 0.001, outage=0.01)
    return np.full(runs, NEVER), guard_on_errors(parent, variant)


def chosen_names(asked: bool) -> Callable[[np.random.Generator, int], tuple[Numbers, Numbers]]:
    """Ten named clients send half of all requests, and no variant answers these. So by chance many of them fall on the
    arm with a tenth of the traffic. `asked`: a failure counts if the other arm answers (`SecondOpinion`)."""

    def decide(random: np.random.Generator, runs: int) -> tuple[Numbers, Numbers]:
        on_variant = random.binomial(10, 0.1, (runs, 1))
        shares = []
        for names, nameless in ((10 - on_variant, 45), (on_variant, 5)):
            others = random.poisson(nameless, (runs, 600))
            failed = random.binomial(others, 0.001)
            bad = 0 if asked else names  # each has about five requests a second, and is one client
            share: Floats = (failed + bad) / np.maximum(others + bad, 1)
            shares.append(share)
        parent, variant = shares
        return np.full(runs, NEVER), guard_on_errors(parent, variant)

    return decide


def requests_to_return(runs: int, sound_s: int = 0, rate: float = 0.1) -> NDArray[np.int64]:
    """After how many requests of its clients a variant that fails at `rate` is returned. Its parent's rate is known
    from the shadow step. It begins to fail `sound_s` seconds after the step has begun; NEVER where it was returned
    before."""
    random = np.random.default_rng(77)
    known, _, _ = seconds(random, runs, 600, 0.001, 0.001)
    sound = seconds(random, runs, sound_s, 0.001, 0.001)
    *arms, requests = seconds(random, runs, 600, 0.001, rate)
    parent, variant = (np.concatenate(each, axis=1) for each in zip(sound[:2], arms, strict=True))
    after = guard_on_errors(parent, variant, before=known)
    return np.array(
        [requests[run, : at - sound_s].sum() if sound_s < at != NEVER else NEVER for run, at in enumerate(after)]
    )


def judge_questions(runs: int, discordance: float = 0.02) -> NDArray[np.int64]:
    """How many questions a judge is asked until an equal variant is promoted: one for each pair whose answers differ.
    Neither labels nor a card are used. Questions are answered before the next look."""
    d, _ = drawn(np.random.default_rng(78), (runs, 4000), PARENT, 0.0, discordance)
    promoted, _ = traffic.verdicts(Pairs(d), GATE)
    return np.array(
        [np.count_nonzero(d[run, :after]) if after != NEVER else NEVER for run, after in enumerate(promoted)]
    )


def spells(length_s: int) -> Callable[[np.random.Generator, int], tuple[Numbers, Numbers]]:
    """The share of requests in time changes between 100 % and 90 %, in spells: 95 % in the mean, exactly the limit. One
    outcome a minute, four hours."""

    def decide(random: np.random.Generator, runs: int) -> tuple[Numbers, Numbers]:
        promoted, rolled_back = np.full(runs, NEVER), np.full(runs, NEVER)
        for run in range(runs):
            phase = random.integers(0, 2 * length_s)
            good = (np.arange(4 * 3600) + phase) // length_s % 2 == 0
            minutes = random.binomial(600, np.where(good, 1.0, 0.9).reshape(-1, 60).mean(axis=1)) / 600
            tally = Tally(0.0, 1.0)
            for number, value in enumerate(minutes, 1):
                tally.add(round(float(value), 3))
                if number % 10 == 0 and is_above(tally, 0.95, GATE.alpha):
                    promoted[run] = number
                    break
                if number % 10 == 0 and is_below(tally, 0.95, GATE.alpha_each):
                    rolled_back[run] = number
                    break
        return promoted, rolled_back

    return decide


def feedback_flood(random: np.random.Generator, runs: int) -> tuple[Numbers, Numbers]:
    """One client sends nine tenths of all scores, each 1. Honest clients give 0.6 on average, 0.8 are asked for."""
    scores = (random.random((runs, 4000)) < 0.6).astype(np.int8)
    clients = random.integers(1, 1001, scores.shape)
    clients[random.random(scores.shape) < 0.9] = 0
    scores[clients == 0] = 1
    kept = traffic.admitted(clients, GATE.client_share)
    counts = traffic.seen(scores * 2 - 1, kept)
    mean = 2 * 0.8 - 1
    return (
        traffic.first(traffic.above(counts, None, mean, GATE.alpha)),
        traffic.first(traffic.below(counts, None, mean, GATE.alpha_each)),
    )


NULLS = [
    Row("equal, 10 % discordant", judged(honest(0.0), 6000), ("rolled_back",)),
    Row("exactly at the margin", judged(honest(-MARGIN), 6000), ("promoted", "rolled_back")),
    Row("3: both models are always wrong", judged(always_wrong, 3000)),
    Row("3: the same, at a margin of 5 points", judged(always_wrong, 3000, Gate(quality=0.05))),
    Row("4: loses 4 points, the parent times out on 5 %", judged(parent_times_out, 6000)),
    Row("4: equal, the variant times out on 5 %: its quality", judged(variant_times_out, 6000), ("rolled_back",)),
    Row("6: a hard tenth loses 30 points, 9 % of pairs lost", judged(hard_tenth, 6000)),
    Row("7: quality in regimes of 1,000 pairs", regimes),
    Row("7: Pareto(1.2) clients one after another, as a sample", judged(pareto_clients, 6000, SAMPLE)),
    Row("7: errors in bursts of 10 at 2.5 %", errors_in_bursts, ("rolled_back",)),
    Row("7: outages of the machine", common_outages, ("rolled_back",)),
    *(Row(f"7: latency in spells of {length} s", spells(length)) for length in (30, 300, 1800)),
    Row("8: half of the traffic is one prompt that goes wrong", judged(one_prompt, 3000)),
    Row("8: half of the traffic is one prompt that goes well, at the margin", judged(frequent_prompt, 6000)),
    Row("12: twenty builds at the margin under one name", twenty_builds, limit=0.10),
    Row("12: 3 % of the requests lose 40 points", small_segment),
]
ATTACKS = [
    Row("junk labels, 100 %, variant 11.5 points worse", judged(junk(1.0, -0.115), 6000)),
    Row("junk labels, 50 %, variant 4 points worse", judged(junk(0.5, -2 * MARGIN), 6000)),
    Row("junk labels, 50 %, variant at the margin", judged(junk(0.5, -MARGIN), 6000)),
    Row("one client has nine tenths of the labels, all junk", judged(one_client, 6000)),
    Row("feedback flood of one client", feedback_flood),
    Row("chosen client names", chosen_names(asked=True), ("rolled_back",)),
]
HONEST = [
    Row("honest labels, equal", judged(honest(0.0), 8000), ("rolled_back",)),
    Row("honest labels, 5 points worse", judged(honest(-0.05), 8000)),
    Row("honest labels, equal, decided", judged(honest(0.0), 8000), ("withheld",), 0.10),
    Row("honest labels, 5 points worse, decided", judged(honest(-0.05), 8000), ("withheld",), 0.10),
]


def bets_of(discordance: float) -> Bets:
    """The bets with a card that knows the discordance, of an equal variant."""
    return bets_on(0.0, discordance, -MARGIN)
