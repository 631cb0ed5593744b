"""Answers are kept where the stack file says so, and are written in groups."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.config.keep_answers import KeepAnswers
from serve.shadow.opinions import answer_keeper
from serve.shadow.opinions.answer_keeper import AnswerKeeper
from tests.unit.serve.shadow.opinions.test_answer_store import difference, ids


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    return SimpleNamespace(keep_answers=KeepAnswers(days=300.0))


@pytest.fixture
def keeper(model: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> AnswerKeeper:
    monkeypatch.setattr(answer_keeper.time, "time", lambda: difference("a").at)
    server = SimpleNamespace(host="::1", port=8000)
    stack = SimpleNamespace(server=server)
    return AnswerKeeper(cast(Any, SimpleNamespace(models={"m": model}, snapshot=SimpleNamespace(stack=stack))))


async def test_a_group_is_written_with_the_next_flush(keeper: AnswerKeeper) -> None:
    keeper.offer(difference("a"))
    keeper.offer(difference("b"))
    assert ids(keeper.store) == []
    await keeper.flush()
    assert sorted(ids(keeper.store)) == ["a", "b"]
    assert keeper.waiting == []


async def test_nothing_is_kept_without_the_setting_and_all_is_removed(
    keeper: AnswerKeeper, model: SimpleNamespace
) -> None:
    keeper.offer(difference("a"))
    keeper.offer(difference("a", model="other"))
    await keeper.flush()
    assert ids(keeper.store) == ["a"]
    keeper.offer(difference("b"))
    model.keep_answers = None
    keeper.offer(difference("c"))
    await keeper.flush()
    assert not keeper.store.path.exists()


async def test_a_share_is_kept_and_no_more_wait_than_may(
    keeper: AnswerKeeper, model: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.keep_answers = KeepAnswers(share=0.5)
    draws = iter([0.4, 0.6])
    monkeypatch.setattr(answer_keeper.random, "random", lambda: next(draws, 0.0))
    monkeypatch.setattr(answer_keeper, "MOST", 2)
    keeper.offer(replace(difference("long"), prompt="a" * 50_000))
    for name in "abcd":
        keeper.offer(difference(name))
    assert [each.id for each in keeper.waiting] == ["a", "c"]


async def test_what_cannot_be_written_is_told(keeper: AnswerKeeper, caplog: pytest.LogCaptureFixture) -> None:
    keeper.store.path.parent.parent.mkdir(exist_ok=True)
    keeper.store.path.parent.write_text("no folder")
    keeper.offer(difference("a"))
    await keeper.flush()
    assert "1 differing answers were not kept" in caplog.text
