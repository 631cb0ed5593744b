from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.variants.artifacts.test_store import keep
from variants.artifacts.card import Accuracy, Card, Latency
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Store
from variants.errors import InputError, UnknownName
from variants.machine import describe


def card(digest: str, by: str = "test") -> Card:
    return Card(
        digest=digest, hardware=describe(), precision="bf16", versions={"torch": "2"}, artifact_bytes=9,
        accuracy=(Accuracy(task="r8", value=0.5, low=0.4, high=0.6, n=100),), latency_s=Latency(p50=0.1, p95=0.2),
        measured_by=by, created=datetime.now(UTC),
    )  # fmt: skip


def test_a_variant_comes_back_to_an_earlier_artifact(tmp_path: Path) -> None:
    store, catalog = Store(tmp_path), Catalog(tmp_path)
    first, second = keep(store).manifest, keep(store, "cd" * 32, "other").manifest
    for manifest in (first, first, second, first):
        catalog.record(manifest)
    history = catalog.model("m").variants["v"]
    assert [binding.digest for binding in history] == [first.digest, second.digest, first.digest]
    assert catalog.models() == ["m"]


def test_a_binding_says_since_when_not_when_its_artifact_was_made(tmp_path: Path) -> None:
    manifest = keep(Store(tmp_path)).manifest
    binding = Catalog(tmp_path).record(manifest)
    assert binding == Catalog(tmp_path).model("m").current("v")
    assert (binding.digest, binding.key, binding.why) == (manifest.digest, manifest.key, "build")
    assert binding.bound > manifest.created


def test_the_same_bytes_under_another_key_are_bound_too(tmp_path: Path) -> None:
    """A collection goes by keys: what no history names goes."""
    store, catalog = Store(tmp_path), Catalog(tmp_path)
    for key in ("ab" * 32, "cd" * 32):
        catalog.record(keep(store, key).manifest)
    assert [binding.key[:2] for binding in catalog.model("m").history("v")] == ["ab", "cd"]


def test_trimming_drops_the_cards_of_digests_that_no_history_names(tmp_path: Path) -> None:
    store, catalog = Store(tmp_path), Catalog(tmp_path)
    first, second = keep(store).manifest, keep(store, "cd" * 32, "other").manifest
    for manifest in (first, second):
        catalog.record(manifest)
        catalog.add_card("m", card(manifest.digest))
    catalog.trim(1)
    assert set(catalog.model("m").cards) == {first.digest, second.digest}
    catalog.trim(0)
    assert [binding.digest for binding in catalog.model("m").history("v")] == [second.digest]
    assert set(catalog.model("m").cards) == {second.digest}


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / "catalog" / ".m.json.999999.tmp"
    left.parent.mkdir()
    left.write_text("{")
    Catalog(tmp_path).record(keep(Store(tmp_path)).manifest)
    assert not left.exists()


def test_cards_belong_to_digests(tmp_path: Path) -> None:
    store, catalog = Store(tmp_path), Catalog(tmp_path)
    first = keep(store).manifest
    catalog.record(first)
    catalog.add_card("m", card(first.digest))
    catalog.add_card("m", card(first.digest, "again"))
    catalog.record(keep(store, "cd" * 32, "other").manifest)
    entry = catalog.model("m")
    assert [each.measured_by for each in entry.cards[first.digest]] == ["test", "again"]
    assert entry.current("v").digest not in entry.cards
    with pytest.raises(UnknownName, match="has no artifact"):
        catalog.add_card("m", card("0" * 64))


def test_writers_do_not_lose_each_others_cards(tmp_path: Path) -> None:
    manifest = keep(Store(tmp_path)).manifest
    Catalog(tmp_path).record(manifest)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: Catalog(tmp_path).add_card("m", card(manifest.digest, str(i))), range(24)))
    cards = Catalog(tmp_path).model("m").cards[manifest.digest]
    assert sorted(int(each.measured_by) for each in cards) == list(range(24))
    assert sorted(path.name for path in (tmp_path / "catalog").iterdir()) == [".lock", "m.json"]


def test_unknown_names_say_what_there_is(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    with pytest.raises(UnknownName, match="understudy build"):
        catalog.model("m")
    catalog.record(keep(Store(tmp_path)).manifest)
    with pytest.raises(UnknownName, match="one of m"):
        catalog.model("n")
    with pytest.raises(UnknownName, match="one of v"):
        catalog.model("m").current("int8")


def test_a_value_outside_its_interval_is_refused() -> None:
    text = '{"task": "r8", "value": 0.7, "low": 0.4, "high": 0.6, "n": 100}'
    with pytest.raises(InputError, match="outside its interval"):
        Accuracy.from_json(text, "card")
