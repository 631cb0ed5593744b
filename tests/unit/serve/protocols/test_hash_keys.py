"""Keys of hashes: one for each purpose, the same after a restart."""

from pathlib import Path

from serve.protocols.answer_id import key_of
from serve.protocols.hash_keys import HashKeys, hash_keys


def test_the_keys_of_a_home_stay_the_same(tmp_path: Path) -> None:
    first = hash_keys(tmp_path)
    hash_keys.cache_clear()
    key_of.cache_clear()
    assert hash_keys(tmp_path) == first
    assert hash_keys(tmp_path / "other") != first


def test_each_purpose_has_a_key_of_its_own(tmp_path: Path) -> None:
    keys = hash_keys(tmp_path)
    assert len({keys.assign, keys.sample, keys.client, keys.request, keys.session, key_of(tmp_path)}) == 6


def test_a_client_is_a_key_and_a_name() -> None:
    keys = HashKeys(client=b"secret")
    clients = [("a", "b"), ("a", None), (None, "a"), ("b", "a")]
    assert len({keys.client_of(*each) for each in clients}) == 4
    assert keys.client_of(None, None) is None
    assert keys.client_of("a", "\udcff") is not None
    assert keys.client_of("a", "b") != HashKeys(client=b"other").client_of("a", "b")
