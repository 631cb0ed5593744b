from pathlib import Path

import pytest

from serve.protocols import answer_id
from variants.errors import InputError


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


def test_an_id_contains_the_variant_that_answered() -> None:
    issued = answer_id.read(answer_id.issue("smollm2", "int8", "d" * 64, "sticky", "r1"))
    assert issued[:4] == ("smollm2", "int8", "d" * 64, "sticky")
    assert issued.request == "r1"


def test_the_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    signed = answer_id.issue("m", "v", "d", "weight", "r")
    key = tmp_path / "feedback.key"
    assert key.stat().st_mode & 0o777 == 0o600
    answer_id.key_of.cache_clear()
    assert answer_id.read(signed).model == "m"


def test_every_changed_character_is_refused() -> None:
    signed = answer_id.issue("m", "v", "d", "weight", "r")
    for place in range(len(signed)):
        other = "A" if signed[place] != "A" else "B"
        forged = signed[:place] + other + signed[place + 1 :]
        if place == len(signed) - 1:
            continue  # the low bits of the last character are not part of the signature
        with pytest.raises(InputError, match="not an id that this server has issued"):
            answer_id.read(forged)
