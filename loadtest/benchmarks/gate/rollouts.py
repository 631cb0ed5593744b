"""Rollouts of a simulated model, carried out by the controller's own classes.

`TrafficManager` begins each rollout, counts reports as an ingress sends them, judges, and moves the traffic. Its
journal is left out: entries change the state and are not written. Time is simulated, with a report and a verdict each
minute.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from loadtest.benchmarks.gate import traffic
from loadtest.benchmarks.gate.row import DISCORDANCE, ON_CARD, PARENT, Decide
from loadtest.benchmarks.gate.traffic import NEVER, Numbers
from serve.config.evidence_key import evidence_key
from serve.config.loader import parse
from serve.config.snapshot import Snapshot, build_snapshot
from serve.control.card_beside import CardBeside, Cards
from serve.control.contract import RULES
from serve.control.journal import Entry
from serve.control.rollout import Rollout, RolloutPlan, read_plan
from serve.control.state import ControlState
from serve.control.traffic_manager import TrafficManager
from variants.artifacts.card import Accuracy
from variants.artifacts.manifest import FileEntry, Manifest
from variants.artifacts.store import Artifact
from variants.files import digest_of
from variants.recipes.recipe import Baseline

MODEL, ROOT, VARIANT = "simulated", "baseline", "int8"
MINUTE = 60
RATE = 50
"""Requests of all clients in a second."""
CARD = CardBeside(
    accuracy=Accuracy(task="simulated", value=PARENT, low=PARENT, high=PARENT, n=1000, contrast=ON_CARD),
    same=1 - DISCORDANCE,
)
Family = tuple[tuple[str, str | None, float, float], ...]
"""Each variant's name, parent, weight, and what its scripted engine takes for a token, in seconds."""
FAMILY: Family = ((ROOT, None, 1, 0.0), (VARIANT, ROOT, 0, 0.0))


@dataclass(frozen=True)
class Arm:
    """How a variant answers its clients: the share that fails, the share within the objective, and the 95th percentile
    of its latency in seconds."""

    failing: float = 0.0
    in_time: float = 1.0
    p95_s: float = 0.5


SOUND = Arm()
Arms = Callable[[Rollout], Mapping[str, Arm]]
"""How each variant answers in the present step of a rollout; the others are sound."""


@cache
def snapshot_of(family: Family) -> Snapshot:
    """A stack of one model on scripted engines, whose artifacts have no files."""
    source = {"uri": "/nowhere/weights", "licence": "Apache-2.0"}
    variants = {
        name: {
            "recipe": {"kind": "quantize", "scheme": "nf4"} if parent else {"kind": "baseline", "dtype": "float32"},
            "engine": {"kind": "scripted", "token_s": token_s}, "weight": weight,
            **({"parent": parent} if parent else {}),
        }
        for name, parent, weight, token_s in family
    }  # fmt: skip
    models = {MODEL: {"task": "text-generation", "source": source, "variants": variants}}
    artifacts = {(MODEL, name): artifact(name, parent) for name, parent, *_ in family}
    return build_snapshot(parse({"schema": 1, "models": models}), artifacts)


def artifact(variant: str, parent: str | None) -> Artifact:
    files = {variant: FileEntry(sha256="0" * 64, bytes=0)}
    digest = digest_of({name: entry.sha256 for name, entry in files.items()})
    manifest = Manifest(
        key=digest, digest=digest, model=MODEL, variant=variant, task="text-generation", method="simulated",
        precision="f32", recipe=Baseline(dtype="float32"), seed=0, parent=parent, parent_digest=None, sources=(),
        files=files, bytes=0, versions={}, created=datetime.now(UTC), format="huggingface", labels=None,
        preprocess=None, note="simulated",
    )  # fmt: skip
    return Artifact(Path("/nowhere") / variant, manifest)


class SimulatedCards(Cards):
    """The same card for every variant."""

    def beside(self, model: str, parent: str, plan: RolloutPlan, at: float = np.inf) -> CardBeside:
        return CARD


class Simulation(TrafficManager):
    """One run after another, each from `restart` on."""

    def __init__(self, folder: Path, random: np.random.Generator, family: Family) -> None:
        super().__init__(folder, snapshot_of(family))
        self.random, self.family = random, family
        self.minute = self.pairs = 0

    def write(self, *entries: tuple[str, Entry]) -> None:
        """Apply entries as the journal would number them."""
        for entry in self.journal.numbered(*entries):
            self.state.apply(entry)
        self.journal.seq += len(entries)

    def restart(self) -> None:
        """Forget every rollout."""
        self.state, self.cards = ControlState(), SimulatedCards(lambda: self.snapshot)
        self.held_since.clear()
        self.adopt(snapshot_of(self.family), "the simulation")

    @property
    def rollout(self) -> Rollout:
        return self.state.rollouts[MODEL]

    def start(self, variant: str = VARIANT, **plan: Any) -> None:
        self.begin(MODEL, *read_plan({"variant": variant, **plan}, self.model(MODEL), MODEL), "the simulation")

    def carry_on(self, minutes: int, arms: Arms = lambda rollout: {}, compared: int = 120, difference: float = 0.0,
                 discordance: float = DISCORDANCE, skew: float = 1.0) -> str:  # fmt: skip
        """The rollout's status after so many minutes, or once it is no longer running. In each minute `compared`
        requests are compared, with that true difference. `skew` is the factor of the variant's assignments."""
        for _ in range(minutes):
            self.report(arms(self.rollout), self.drawn(compared, difference, discordance), skew)
            if self.look() != "running":
                break
        return self.rollout.status

    def look(self) -> str:
        """Judge the minute that is over. Gives the rollout's status."""
        self.held_since[MODEL] -= MINUTE  # the clock stands still
        self.judge_one(MODEL, self.rollout)
        return self.rollout.status

    def report(self, arms: Mapping[str, Arm], pairs: list[dict[str, Any]], skew: float = 1.0) -> None:
        """Count the next minute as an ingress reports it, with `pairs` of the rollout's variant and its parent."""
        self.minute += 1
        in_force, rollout = self.state.traffic[MODEL], self.rollout
        shares = {name: share for name, share in in_force.traffic.shares.items() if share > 0}
        served = {}
        for name, share in shares.items():
            digest = self.snapshot.variants[MODEL, name].manifest.digest
            served[digest] = self.served(arms.get(name, SOUND), share, in_force.version)
        weights = np.array([share * (skew if name == rollout.plan.variant else 1.0) for name, share in shares.items()])
        assigned = self.random.multinomial(RATE * MINUTE, weights / weights.sum()).tolist()
        anonymous = {"anonymous": dict(zip(shares, assigned, strict=True)), "clients": {}}
        both = (self.snapshot.variants[MODEL, name] for name in (rollout.parent, rollout.plan.variant))
        shadowed = {
            "seen": len(pairs), "incomparable": {}, "chosen": len(pairs), "skipped": [], "lost": {}, "pairs": pairs,
        }  # fmt: skip
        shadows = {evidence_key(*both): shadowed}
        observed = {"assigned": {str(in_force.version): anonymous}, "served": served, "shadows": shadows}
        number = self.state.batches.get("i", 0) + 1
        self.count("i", {"number": number, "rules": RULES, "models": {MODEL: observed}})

    def served(self, arm: Arm, share: float, version: int) -> dict[str, Any]:
        """A minute of one variant: failures by second, and one block of latencies."""
        requests = self.random.poisson(RATE * share, MINUTE)
        failed = self.random.binomial(requests, arm.failing)
        seconds = [
            [version, self.minute * MINUTE + at, times, round(bad / times, 4)]
            for at, (times, bad) in enumerate(zip(requests.tolist(), failed.tolist(), strict=True))
            if times
        ]
        answered = int((requests - failed).sum())
        within, gate = int(self.random.binomial(answered, arm.in_time)), self.rollout.plan.gate
        p95_s = round(arm.p95_s * float(self.random.lognormal(0.0, 0.1)), 3) if answered else None
        objective_s = gate.latency.objective_s if gate.latency else None
        minutes = [[version, objective_s, self.minute, int(requests.sum()), within, p95_s, p95_s]]
        return {"seconds": seconds, "minutes": minutes}

    def drawn(self, n: int, difference: float, discordance: float = DISCORDANCE) -> list[dict[str, Any]]:
        """So many compared requests, each another one, with labels of a key that is trusted."""
        d, contrast = (each[0].tolist() for each in traffic.drawn(self.random, (1, n), PARENT, difference, discordance))
        self.pairs += n
        return [
            pair(str(self.pairs - number), own, other)
            for number, (own, other) in enumerate(zip(d, contrast, strict=True))
        ]


def pair(name: str, d: int, contrast: int) -> dict[str, Any]:
    """A compared request as an ingress reports it. Its scores are those that give d and the contrast."""
    parent = max(contrast, -d, 0) if d or contrast else 1
    return {
        "id": name, "request": name, "length": 10, "client": None, "trusted": True, "metric": "quality",
        "values": [float(parent + d), float(parent)], "shuffled": float(parent - contrast), "label": True,
        "asked": True, "failed": False, "lost": None, "segments": {}, "divergence": None,
    }  # fmt: skip


@contextmanager
def simulation(random: np.random.Generator, family: Family) -> Iterator[Simulation]:
    with TemporaryDirectory(prefix="understudy-gate-") as folder:
        yield Simulation(Path(folder), random, family)


def carried_out(scenario: Callable[[Simulation], str], family: Family = FAMILY) -> Decide:
    """Decides by the status with which a scenario ends."""

    def decide(random: np.random.Generator, runs: int) -> tuple[Numbers, Numbers]:
        promoted, rolled_back = np.full(runs, NEVER), np.full(runs, NEVER)
        with simulation(random, family) as simulated:
            for run in range(runs):
                simulated.restart()
                status = scenario(simulated)
                for ended, status_then in ((promoted, "promoted"), (rolled_back, "rolled back")):
                    if status == status_then:
                        ended[run] = simulated.minute
        return promoted, rolled_back

    return decide
