"""Runs a study: builds and evaluates one variant after the other, and writes each card as it is made.

A run uses what an earlier one made: artifacts in the store, and cards in the catalog if machine and versions are the
same. The earlier cards of `study.json` stay until this run has its own (`serve.study.reuse`). A variant that fails is
reported, and so are those made from it; the others continue. When the time is over, the run stops before the next card
and reports the missing ones.
"""

import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from serve.config.lineage import VariantRef, line_of
from serve.config.stack import Stack
from serve.evaluation.evaluate import check_harness_tasks, evaluate_variant
from serve.study import build_process, page
from serve.study.entry import entry_of
from serve.study.matrix import examples_for, family_of, limit_of, matrix, whole
from serve.study.model_card import write_model_card
from serve.study.reuse import earlier_cards
from serve.study.schema import FILE, Failure, Study, StudyCard
from variants.artifacts.store import Artifact
from variants.errors import UnderstudyError
from variants.files import write_atomic
from variants.machine import describe, versions
from variants.progress import for_stream

Make = Callable[[Stack, Sequence[VariantRef]], Mapping[VariantRef, Artifact]]


@dataclass(frozen=True)
class StudyPlan:
    """`budget_s`: no card is started later than this. `most`: examples of a task, if fewer than the family has."""

    stack: Stack
    only: str | None = None
    budget_s: float | None = None
    most: int | None = None


class Runner:
    """One run. `make` returns the artifacts of a line of variants and builds the missing ones. Raises InputError if
    there is nothing to study, too much (`matrix`), or a task of lm-evaluation-harness that cannot be used."""

    def __init__(self, plan: StudyPlan, out: Path, make: Make = build_process.make) -> None:
        self.plan, self.out, self.make = plan, out, make
        self.cards: dict[VariantRef, StudyCard] = {}
        self.failed: dict[VariantRef, Failure] = {}
        self.refs = matrix(plan.stack, plan.only)
        check_harness_tasks(plan.stack, {ref[0] for ref in self.refs})
        self.earlier = earlier_cards(plan.stack, out, plan.most)
        self.began = time.monotonic()

    def run(self) -> Study:
        """Make every card. The page is written before each card and at the end, also after Ctrl-C."""
        try:
            for number, ref in enumerate(self.refs):
                if self.plan.budget_s is not None and time.monotonic() - self.began >= self.plan.budget_s:
                    break
                tell(f"card {number + 1} of {len(self.refs)}: {ref[0]}@{ref[1]}{self.left(number)}")
                self.write()
                self.one(ref)
        finally:
            study = self.write()
        return study

    def left(self, done: int) -> str:
        """The time that the remaining cards take at the speed so far."""
        if not done:
            return ""
        left = (time.monotonic() - self.began) / done * (len(self.refs) - done)
        return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"

    def one(self, ref: VariantRef) -> None:
        """Make the card of one variant, or record its failure."""
        stack, line = self.plan.stack, line_of(self.plan.stack, ref)
        broken = [each for each in line[:-1] if each in self.failed]
        if broken:
            self.fail(ref, f"{broken[0][1]}, which it is made from or compared with, failed")
            return
        try:
            progress = for_stream()
            artifacts = self.make(stack, line)
            examples = examples_for(stack, ref[0], self.plan.most, progress)
            card = evaluate_variant(stack, artifacts, ref, examples, False, progress)
            entry = entry_of(stack, ref, card, artifacts, limit_of(stack, ref[0], self.plan.most))
            write_model_card(artifacts[ref].manifest, card, self.out / "cards")
            self.cards[ref] = entry
        except UnderstudyError as error:
            self.fail(ref, str(error))
        except Exception as error:  # a defect in one method must not lose the other cards
            traceback.print_exc()
            self.fail(ref, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")

    def fail(self, ref: VariantRef, why: str) -> None:
        tell(f"{ref[0]}@{ref[1]} failed: {why}")
        family = family_of(self.plan.stack.models[ref[0]].task)
        self.failed[ref] = Failure(family=family, model=ref[0], variant=ref[1], why=why)

    def study(self) -> Study:
        shown = self.shown()
        done = {*shown, *self.failed}
        return Study(
            machine=describe(),
            versions=versions(),
            cards=tuple(shown.values()),
            failed=tuple(self.failed.values()),
            missing=tuple(f"{model}@{variant}" for model, variant in self.refs if (model, variant) not in done),
            created=datetime.now(UTC),
            seconds=round(time.monotonic() - self.began, 1),
        )

    def shown(self) -> dict[VariantRef, StudyCard]:
        """This run's cards. A variant without one has its earlier card, if that was compared with a card shown here."""
        cards: dict[VariantRef, StudyCard] = {}
        for ref in whole(self.plan.stack):
            earlier = None if ref in self.failed else self.earlier.get(ref)
            if earlier and earlier.parent_digest not in (None, *(card.digest for card in cards.values())):
                earlier = None
            if card := self.cards.get(ref, earlier):
                cards[ref] = card
        return cards

    def write(self) -> Study:
        study = self.study()
        write_atomic(self.out / FILE, study.to_json())
        page.write(study, self.out)
        return study


def interrupt_on_signals() -> None:
    """Let SIGTERM and a closed terminal end a study like Ctrl-C, also where a shell started it with SIGINT ignored."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup, which stays so
            signal.signal(number, signal.default_int_handler)


def tell(text: str) -> None:
    print(f"study: {text}", file=sys.stderr, flush=True)


def describe_study(study: Study, out: Path) -> str:
    """The outcome as text."""
    lines = [f"{len(study.cards)} cards; this run took {study.seconds / 60:.1f} min"]
    lines += [f"failed: {each.model}@{each.variant}: {each.why}" for each in study.failed]
    if study.missing:
        lines.append(f"missing, out of time: {', '.join(study.missing)}; run the same command again to continue")
    return "\n".join([*lines, f"page: {out / 'index.html'}", f"figures: {out / FILE}"])
