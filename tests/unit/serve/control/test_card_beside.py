from datetime import UTC, datetime
from typing import Any

import pytest

from serve.config.snapshot import ServedVariant, build_snapshot
from serve.control.card_beside import CardBeside, card_beside, check_card, newest
from serve.control.rollout import RolloutPlan
from tests.support.family import Family
from variants.artifacts.card import Accuracy, Agreement, Card, Difference
from variants.errors import InputError
from variants.evidence.betting import DEFAULT, Tally
from variants.evidence.gate import Gate
from variants.machine import describe

PARENT, VARIANT = "a" * 64, "b" * 64
ACCURACY = Accuracy(task="t", value=0.8, low=0.75, high=0.85, n=500, contrast=0.4)
PRUNED = Difference(task="t", metric="accuracy", parent=PARENT, value=-0.115, low=-0.183, high=-0.046, n=500)
EQUAL = PRUNED.model_copy(update={"value": 0.0, "low": -0.01, "high": 0.01})


def card(digest: str = VARIANT, **more: Any) -> Card:
    usual: dict[str, Any] = {
        "digest": digest, "hardware": describe(), "precision": "f32", "versions": {}, "artifact_bytes": 1,
        "measured_by": "a test", "created": datetime.now(UTC), "accuracy": (ACCURACY,), "engine": {"kind": "scripted"},
    }  # fmt: skip
    return Card(**usual | more)


def plan(**more: Any) -> RolloutPlan:
    return RolloutPlan(variant="pruned", **more)


def test_a_variant_that_its_card_proves_worse_is_refused_with_the_mend() -> None:
    with pytest.raises(
        InputError, match=r"-0\.115 \(-0\.183 to -0\.046\) on 500 examples of t, allowed are -0\.020"
    ) as e:
        check_card(CardBeside(PRUNED, ACCURACY), plan())
    assert "--against-card" in str(e.value.mend)
    assert e.value.field == "variant"


@pytest.mark.parametrize(
    ("difference", "changes"),
    [
        (PRUNED, {"against_card": "a trial"}),
        (PRUNED, {"gate": Gate(quality=0.046)}),
        (PRUNED, {"gate": Gate(quality=None, floor=0.9)}),
        (PRUNED, {"gate": Gate(quality=None, agreement=0.01)}),
        (PRUNED.model_copy(update={"high": 0.01}), {}),
        (None, {}),
    ],
)
def test_otherwise_a_rollout_may_begin(difference: Difference | None, changes: dict[str, Any]) -> None:
    check_card(CardBeside(difference, ACCURACY), plan(**changes))


def test_a_floor_is_a_share_of_the_parents_accuracy_on_the_card() -> None:
    with pytest.raises(InputError, match=r"allowed are -0\.040"):
        check_card(CardBeside(PRUNED, ACCURACY), plan(gate=Gate(quality=None, floor=0.95)))


@pytest.mark.parametrize(
    ("live", "contradicts"),
    [
        ({-1.0: 300, 0.0: 700}, True), ({1.0: 300, 0.0: 700}, True), ({0.0: 2000}, False), ({-1.0: 1, 0.0: 9}, False),
        ({}, False),
    ],
)  # fmt: skip
def test_a_contradiction_of_card_and_live_is_said(live: dict[float, int], contradicts: bool) -> None:
    shown = CardBeside(EQUAL, ACCURACY).to_json(Tally(-1.0, 1.0, live), 0.05)
    assert shown["contradicts"] is contradicts
    assert (shown["live"] is None) is not bool(live)
    assert shown["difference"]["value"] == 0.0


def test_without_a_card_nothing_contradicts() -> None:
    shown = CardBeside().to_json(Tally(-1.0, 1.0, {-1.0: 300}), 0.05)
    assert (shown["contradicts"], shown["difference"], shown["contrast"]) == (False, None, None)


@pytest.mark.parametrize(("contrast", "expected"), [(0.4, 0.4), (None, 0.8)])
def test_an_older_card_has_the_accuracy_as_the_most_that_labels_can_tell(
    contrast: float | None, expected: float
) -> None:
    assert CardBeside(accuracy=ACCURACY.model_copy(update={"contrast": contrast})).contrast == expected
    assert CardBeside().contrast is None


def test_bets_expect_what_the_card_says() -> None:
    assert CardBeside(EQUAL, ACCURACY, same=None).bets(0.02) is DEFAULT
    assert CardBeside(EQUAL, ACCURACY, same=0.98).bets(None) is DEFAULT
    often, rarely = (CardBeside(EQUAL, ACCURACY, same=same).bets(0.02).shares[-2] for same in (0.9, 0.98))
    assert often < rarely
    assert (CardBeside(PRUNED, ACCURACY, same=1.0).bets(0.02).shares > 0).all()


def test_bets_on_harm_expect_a_loss_and_the_cards_discordance() -> None:
    assert CardBeside(EQUAL, ACCURACY, same=None).harm_bets(0.02) is DEFAULT
    assert CardBeside(EQUAL, ACCURACY, same=0.98).harm_bets(None) is DEFAULT
    often, rarely = (CardBeside(same=same).harm_bets(0.02).shares[-2] for same in (0.8, 0.9))
    assert often < rarely
    assert (CardBeside(same=1.0).harm_bets(0.0).shares > 0).all()
    assert CardBeside(same=0.9).harm_bets(0.9).shares.max() < 1


def test_figures_are_of_this_parent_and_its_task() -> None:
    other = PRUNED.model_copy(update={"parent": "c" * 64})
    mae = EQUAL.model_copy(update={"metric": "mae"})
    on_u = ACCURACY.model_copy(update={"task": "u", "value": 0.78})
    same = Agreement(task="t", parent=PARENT, value=0.9, low=0.8, high=1.0, n=9)
    variant = card(differences=(other, mae, PRUNED), agreement=(same,))
    beside = card_beside(card(PARENT, accuracy=(on_u, ACCURACY)), variant)
    assert beside == CardBeside(PRUNED, ACCURACY, 0.9)
    assert card_beside(None, variant) == CardBeside()
    assert card_beside(card(PARENT), None) == CardBeside(accuracy=ACCURACY)


def test_differences_add_up_along_a_line() -> None:
    """Else a variant that was made from one that is proven worse would not be refused."""
    first, second, third = "a" * 64, "b" * 64, "c" * 64
    on_pruned = EQUAL.model_copy(update={"parent": second, "n": 400})
    shares = {
        digest: Agreement(task="t", parent=digest, value=0.9, low=0.8, high=1.0, n=9) for digest in (first, second)
    }
    root, pruned = card(first), card(second, differences=(PRUNED,), agreement=(shares[first],))
    both = card(third, differences=(on_pruned,), agreement=(shares[second],))
    beside = card_beside(root, pruned, both)
    assert beside.difference is not None
    assert (beside.difference.parent, beside.difference.n) == (first, 400)
    assert [round(each, 3) for each in (beside.difference.value, beside.difference.low, beside.difference.high)] == [
        -0.115, -0.193, -0.036,
    ]  # fmt: skip
    assert beside.same == pytest.approx(0.8)
    with pytest.raises(InputError, match="proven worse on its card"):
        check_card(beside, plan())
    on_u = on_pruned.model_copy(update={"task": "u"})
    assert card_beside(root, pruned, card(third, differences=(on_u,))) == CardBeside(on_u, ACCURACY)
    assert card_beside(root, None, both) == CardBeside(accuracy=ACCURACY)


def test_where_the_line_lacks_a_card_the_last_step_counts() -> None:
    """Else a variant that its card proves worse than its parent would not be refused."""
    worse = PRUNED.model_copy(update={"parent": "b" * 64})
    beside = card_beside(None, card("b" * 64), card("c" * 64, differences=(worse,)))
    assert beside == CardBeside(worse)
    with pytest.raises(InputError, match="proven worse on its card"):
        check_card(beside, plan())


@pytest.fixture
def served(tmp_path: Any) -> ServedVariant:
    family = Family(tmp_path, 8000)
    return build_snapshot(family.stack, family.artifacts).variants["echo", "int8"]


def test_the_newest_card_of_this_machine_and_engine_counts(served: ServedVariant) -> None:
    engine = served.engine.settings.model_dump(mode="json")
    elsewhere = describe().model_copy(update={"cpu": "another"})
    old, new = (card(engine=engine, artifact_bytes=size) for size in (1, 2))
    cards = (old, new, card(engine=engine, hardware=elsewhere), card(), card(engine=engine, accuracy=()))
    assert newest(cards, served) is new
    assert newest((), served) is None


def test_a_card_that_was_made_during_a_rollout_changes_nothing(served: ServedVariant) -> None:
    """Bets that follow what is seen would break the bounds."""
    engine = served.engine.settings.model_dump(mode="json")
    old, new = (card(engine=engine, created=datetime.fromtimestamp(at, UTC)) for at in (1000, 2000))
    assert [newest((old, new), served, at) for at in (999.0, 1500.0, 2000.0)] == [None, old, new]
