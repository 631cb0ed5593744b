"""Runs a study: builds and evaluates one variant after the other, and keeps each card as it is made.

What an earlier run made is found again: artifacts in the store, cards in the catalog, as long as machine and versions
are the same; and the cards of its `study.json` stay until this run has its own (`serve.study.reuse`). A variant that
fails is reported, with what was to be made of it, and the others go on. Where the time is over, it stops before the
next card and says which are missing.
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
from serve.evaluation.evaluate import evaluate_variant
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
    """`budget_s`: no card is begun later than this. `most`: examples a task, if fewer than the family's time allows."""

    stack: Stack
    only: str | None = None
    budget_s: float | None = None
    most: int | None = None


class Runner:
    """One run. `make` gives the artifacts of a line of variants, built where they are missing."""

    def __init__(self, plan: StudyPlan, out: Path, make: Make = build_process.make) -> None:
        self.plan, self.out, self.make = plan, out, make
        self.cards: dict[VariantRef, StudyCard] = {}
        self.failed: dict[VariantRef, Failure] = {}
        self.refs = matrix(plan.stack, plan.only)
        self.earlier = earlier_cards(plan.stack, out, plan.most)
        self.began = time.monotonic()

    def run(self) -> Study:
        """Every card, and after each the page of what there is: with none, and after Ctrl-C, too. Raises InputError
        before any work."""
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
        """How long the rest takes if it goes on as it went."""
        if not done:
            return ""
        left = (time.monotonic() - self.began) / done * (len(self.refs) - done)
        return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"

    def one(self, ref: VariantRef) -> None:
        """The card of one variant, or its failure."""
        stack, line = self.plan.stack, line_of(self.plan.stack, ref)
        broken = [each for each in line[:-1] if each in self.failed]
        if broken:
            self.fail(ref, f"{broken[0][1]}, which it is made from or judged against, failed")
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
        except Exception as error:  # a defect in one method must not cost the other cards
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
        """This run's cards and, where it has none yet, the earlier ones whose parent's card is still the one that they
        were compared with."""
        found: dict[VariantRef, StudyCard] = {}
        for ref in whole(self.plan.stack):
            earlier = None if ref in self.failed else self.earlier.get(ref)
            if earlier and earlier.parent_digest not in (None, *(card.digest for card in found.values())):
                earlier = None
            if card := self.cards.get(ref, earlier):
                found[ref] = card
        return found

    def write(self) -> Study:
        study = self.study()
        write_atomic(self.out / FILE, study.to_json())
        page.write(study, self.out)
        return study


def interrupt_on_signals() -> None:
    """SIGTERM and a closed terminal end a study as Ctrl-C does, also where a shell has it ignore Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish is kept
            signal.signal(number, signal.default_int_handler)


def tell(text: str) -> None:
    print(f"study: {text}", file=sys.stderr, flush=True)


def describe_study(study: Study, out: Path) -> str:
    """What came of it, for people."""
    lines = [f"{len(study.cards)} cards; this run took {study.seconds / 60:.1f} min"]
    lines += [f"failed: {each.model}@{each.variant}: {each.why}" for each in study.failed]
    if study.missing:
        lines.append(f"missing, for want of time: {', '.join(study.missing)}; the same command goes on from here")
    return "\n".join([*lines, f"page: {out / 'index.html'}", f"figures: {out / FILE}"])
