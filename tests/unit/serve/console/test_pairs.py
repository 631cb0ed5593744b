"""The pages of pairs: their order and filters, and a rating page that does not say whose answer is whose."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serve.config.keep_answers import KeepAnswers
from serve.console.pairs import MOST_WORDS, PER_PAGE, READ, difference, sides
from serve.protocols.uncounted import UNCOUNTED
from tests.unit.serve.console.made import Fake, token_of

PAIRS = "/admin/v1/models/echo/pairs"
RATE = "/models/echo/pairs/rate"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


def pair(number: int, variant: str = "of the variant", parent: str = "of the parent", **more: Any) -> dict[str, Any]:
    return {
        "id": f"{number:016x}", "at": 1000.5 + number, "variant": "int8", "parent": "baseline", "evidence": "k",
        "prompt": f"prompt {number}", "answers": {"variant": variant, "parent": parent}, "known": None,
        "outcome": None, "by": None, **more,
    }  # fmt: skip


class Keeping(Fake):
    """An ingress that keeps answers of `echo`, and notes what is posted to it."""

    def __init__(self, *pairs: dict[str, Any]) -> None:
        super().__init__()
        self.documents |= {
            PAIRS: {"model": "echo", "pairs": list(pairs)},
            "/admin/v1/models/echo/rollouts": {"rollouts": []},
            "/v1/feedback": {"counted": True, "model": "echo", "variant": "int8"},
        }
        self.posted: list[dict[str, Any]] = []

    def snapshot(self) -> Any:
        variants = {"baseline": SimpleNamespace(parent=None), "int8": SimpleNamespace(parent="baseline")}
        model = SimpleNamespace(keep_answers=KeepAnswers(), variants=variants, task="text-generation")
        return SimpleNamespace(stack=SimpleNamespace(server=self.server, models={"echo": model}), judged={})

    async def answer(self, request: Any) -> Any:
        if request.method == "POST":
            self.posted.append(await request.json())
        return await super().answer(request)


async def test_the_pairs_that_differ_most_come_first_with_the_difference_marked() -> None:
    fake = Keeping(pair(1, "a b c d", "a b c e"), pair(2, "one two", "three <b>four</b>"))
    async with fake.client() as client:
        page = (await client.get("/models/echo/pairs")).text
    assert page.index("prompt 2") < page.index("prompt 1")
    assert "a b c <mark>d</mark>" in page
    assert "<mark>three &lt;b&gt;four&lt;/b&gt;</mark>" in page
    assert "100.0 % of the words differ" in page


async def test_pages_and_filters() -> None:
    fake = Keeping(*(pair(number) for number in range(PER_PAGE + 1)))
    rollout = {
        "id": "r1", "variant": "int8", "status": "promoted",
        "began": "1970-01-01T00:16:42+00:00", "ended": "1970-01-01T00:16:44+00:00",
    }  # fmt: skip
    fake.documents["/admin/v1/models/echo/rollouts"] = {"rollouts": [rollout]}
    async with fake.client() as client:
        first = (await client.get("/models/echo/pairs")).text
        second = (await client.get("/models/echo/pairs?page=2")).text
        of_rollout = (await client.get("/models/echo/pairs?rollout=r1")).text
        assert (await client.get("/models/echo/pairs?page=0")).status_code == 400
    assert (first.count('class="tile pair"'), second.count('class="tile pair"')) == (PER_PAGE, 1)
    assert "page=2" in first
    assert "page=1" in second
    assert re.findall(r"prompt (\d)", of_rollout) == ["2", "3"]  # kept at 1002.5 and 1003.5 s


async def test_what_was_not_read_is_not_denied() -> None:
    fake = Keeping(*(pair(number) for number in range(READ)))
    async with fake.client() as client:
        assert f"{READ} pairs among the {READ} that were read" in (await client.get("/models/echo/pairs")).text
        assert f"{READ} or more pairs wait" in (await client.get(RATE)).text
        assert f"nothing more to rate among the {READ} that were read" in (await client.get(f"{RATE}?before=1")).text
        none = (await client.get("/models/echo/pairs?rollout=none")).text
    assert f"No kept pair matches these filters among the {READ} that were read" in none


async def test_the_filters_stay_while_one_rates() -> None:
    fake = Keeping(pair(5), pair(1))
    rollout = {
        "id": "r1", "variant": "int8", "status": "promoted",
        "began": "1970-01-01T00:16:41+00:00", "ended": "1970-01-01T00:16:42+00:00",
    }  # fmt: skip
    fake.documents["/admin/v1/models/echo/rollouts"] = {"rollouts": [rollout]}
    of = "variant=int8&amp;rollout=r1"
    async with fake.client() as client:
        assert f'href="{RATE}?{of}"' in (await client.get("/models/echo/pairs?variant=int8&rollout=r1")).text
        page = (await client.get(f"{RATE}?variant=int8&rollout=r1")).text
        assert "prompt 1" in page
        assert f'href="?{of}&amp;before=' in page
        fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
        sent = await client.post(RATE, data={**fields, "choice": "tie"})
    assert sent.headers["location"] == f"{RATE}?variant=int8&rollout=r1&last=counted"


class NotKeeping(Fake):
    """An ingress that refuses to show pairs, as it does where the stack file keeps none."""

    async def answer(self, request: Any) -> Any:
        answer = await super().answer(request)
        if request.url.path == PAIRS:
            answer.status_code = 400
        return answer


async def test_a_model_whose_answers_are_not_kept_says_which_setting_keeps_them() -> None:
    fake = NotKeeping()
    fake.documents["/admin/v1/models/echo/rollouts"] = {"rollouts": []}
    async with fake.client() as client:
        for path in ("/models/echo/pairs", RATE):
            shown = await client.get(path)
            assert shown.status_code == 200
            assert "keep_answers: {days: 7}" in shown.text


async def test_an_opinion_is_the_chosen_sides_wherever_the_variant_stands() -> None:
    """Over many pairs both sides occur, the page never says which is which, and the outcome follows the text."""
    stands, pages = set[bool](), set[str]()
    for number in range(16):
        fake = Keeping(pair(number, "VARIANTS", "PARENTS"))
        async with fake.client() as client:
            page = (await client.get(RATE)).text
            is_left = page.index("VARIANTS") < page.index("PARENTS")
            stands.add(is_left)
            again = (await client.get(RATE)).text
            assert (again.index("VARIANTS") < again.index("PARENTS")) == is_left
            fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
            sent = await client.post(RATE, data={**fields, "choice": "left"})
        assert (sent.status_code, sent.headers["location"]) == (303, f"{RATE}?last=counted")
        outcome = 1 if is_left else -1
        assert fake.posted == [{"request_id": f"{number:016x}", "variant": "int8", "outcome": outcome}]
        other = page.replace("VARIANTS", "*").replace("PARENTS", "*").replace(f"{number:016x}", "*")
        other = other.replace(f"prompt {number}", "*").replace(f"{1000.5 + number}", "*").replace(token_of(page), "*")
        pages.add(other)
    assert stands == {True, False}
    assert len(pages) == 1  # but for the texts, the page is the same for every pair


async def test_skipped_and_rated_pairs_do_not_come_again() -> None:
    fake = Keeping(pair(3, outcome=1, by="person"), pair(2), pair(1))
    async with fake.client() as client:
        page = (await client.get(RATE)).text
        assert "prompt 2" in page
        assert "2 pairs wait" in page
        skip = re.search(r'id="skip" href="([^"]+)"', page)
        assert skip is not None
        then = (await client.get(f"{RATE}{skip[1].replace('&amp;', '&')}")).text
        assert "prompt 1" in then
        end = (await client.get(f"{RATE}?before=1001.5")).text
        assert "nothing more to rate" in end
        assert (await client.get(f"{RATE}?before=x")).status_code == 400


@pytest.mark.parametrize(("code", "why"), [*UNCOUNTED.items(), ("no", "something new")])
async def test_an_opinion_that_does_not_count_says_why(code: str, why: str) -> None:
    fake = Keeping(pair(1))
    fake.documents["/v1/feedback"] = {"counted": False, "why": why, "model": "echo", "variant": "int8"}
    async with fake.client() as client:
        fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', (await client.get(RATE)).text))
        sent = await client.post(RATE, data={**fields, "choice": "tie"})
        assert sent.headers["location"] == f"{RATE}?last={code}"
        said = (await client.get(sent.headers["location"])).text
    assert ("Your opinion does not count." if code == "no" else f"Your opinion does not count: {why}.") in said
    assert "came first" not in said or code == "first"


async def test_a_choice_that_is_none_is_refused_and_so_is_a_form_without_its_token() -> None:
    fake = Keeping(pair(1))
    async with fake.client() as client:
        token = token_of((await client.get(RATE)).text)
        fields = {"id": f"{1:016x}", "of": "int8"}
        assert (await client.post(RATE, data={**fields, "choice": "left"})).status_code == 403
        assert (await client.post(RATE, data={**fields, "token": token, "choice": "both"})).status_code == 400
    assert fake.posted == []


def test_marks_each_side_against_the_other_and_keeps_long_texts_whole() -> None:
    assert sides("a b", "a c") == ([("a", False), ("b", True)], [("a", False), ("c", True)])
    long = " ".join(map(str, range(MOST_WORDS + 1)))
    assert sides(long, "x") == ([(long, False)], [("x", False)])


@pytest.mark.parametrize(("variant", "parent", "share"), [("a b", "a b", 0), ("a b", "c d", 1), ("a b", "a c", 0.5)])
def test_the_share_of_words_that_differ(variant: str, parent: str, share: float) -> None:
    assert difference(pair(1, variant, parent)) == share
