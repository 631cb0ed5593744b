"""Answers that differ, from the replay to the verdict: kept, judged by labels, people and a judge, and removed."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.cli.rollout_text import describe_rollout
from serve.config.stack import Stack
from serve.protocols.answer_id import read
from serve.protocols.hash_keys import hash_keys
from tests.integration.serve.control.test_rollout import ROLLOUT, family_of, until
from tests.support.family import Family, change
from tests.support.labelled_load import BIAS, LABELS
from tests.support.local_stage import local

pytestmark = pytest.mark.integration
PAIRS = "/admin/v1/models/echo/pairs"
PLAN = {
    "variant": "int8", "steps": ["shadow"], "shadow": 1.0, "hold_s": 600,
    "gate": {"quality": None, "preference": 0.9, "guard": None},
}  # fmt: skip
"""Its limit is so wide that no verdict ends it."""
COUNT = 30


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


class Referee(BaseHTTPRequestHandler):
    """A judge with OpenAI's API: the better answer is the one that the prompt names."""

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["content-length"])))
        shown = document["messages"][1]["content"]
        prompt = shown.split("The request:\n")[1].split("\n")[0]
        first = shown.split("Answer A:\n")[1].split("\n")[0]
        allowed = (self.path, self.headers["authorization"]) == ("/v1/chat/completions", "Bearer secret")
        word = "A" if prompt.endswith(first) else "B"
        body = json.dumps({"choices": [{"message": {"content": word}}]}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def referee(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("REFEREE_KEY", "secret")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Referee)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def stack_of(family: Family, **settings: Any) -> Stack:
    document = family.stack.model_dump(mode="json", by_alias=True)
    document["models"]["echo"] |= settings
    return Stack.model_validate(document)


async def ask(client: httpx.AsyncClient, label: bool = False) -> dict[str, str]:
    """Requests whose prompts name the right answer. Gives the right answer by the id of each pair."""
    right = {}
    for number in range(COUNT):
        answer = LABELS[number % 2]
        prompt = f"number {number} is{answer}"
        body = {"model": "echo", "prompt": prompt, "max_tokens": 1, "temperature": 0, "logit_bias": BIAS}
        headers = {"x-understudy-label": answer.strip()} if label else {}
        told = await client.post("/v1/completions", json=body, headers=headers)
        assert told.status_code == 200, told.text
        right[told.headers["x-understudy-id"]] = answer
    return right


def pair_id(home: Path, signed: str) -> str:
    return hash_keys(home).request_of(read(signed).request)


async def compared(client: httpx.AsyncClient, count: int = COUNT) -> dict[str, Any]:
    return await until(client, lambda answer: answer["pairs"]["compared"] == count)


async def kept(client: httpx.AsyncClient, count: int) -> list[dict[str, Any]]:
    """The kept pairs, when there are so many."""
    async with asyncio.timeout(30):
        while True:
            answer = await client.get(PAIRS, params={"variant": "int8"})
            assert answer.status_code == 200, answer.text
            pairs: list[dict[str, Any]] = answer.json()["pairs"]
            if len(pairs) == count:
                return pairs
            await asyncio.sleep(0.05)


async def test_differing_answers_are_kept_judged_and_removed_with_the_setting(tmp_path: Path) -> None:
    family = family_of(tmp_path, errs=0.4)
    async with local(tmp_path, stack_of(family, keep_answers={"days": 7}), family.artifacts) as served:
        client = served.client
        assert (await client.post(ROLLOUT, json=PLAN)).status_code == 200
        right = {pair_id(tmp_path, signed): (signed, answer) for signed, answer in (await ask(client)).items()}
        answer = await compared(client)
        differing = answer["opinions"]["differing"]
        assert 0 < differing < COUNT
        assert answer["verdict"]["findings"][0]["lost"] == differing
        pairs = await kept(client, differing)
        for pair in pairs:
            wanted = right[pair["id"]][1]
            assert pair["prompt"].endswith(wanted)
            assert (pair["answers"]["parent"], pair["answers"]["variant"] != wanted) == (wanted, True)
            assert (pair["outcome"], pair["by"]) == (None, None)

        (first, *others) = pairs
        receipts = [
            (await client.post("/v1/feedback", json={"request_id": first["id"], "variant": "int8", "outcome": outcome}))
            for outcome in (-1, 1)
        ]
        assert [each.json()["counted"] for each in receipts] == [True, False]
        for pair in others:
            signed, label = right[pair["id"]]
            junk = await client.post("/v1/feedback", json={"id": signed, "label": "zzz"})
            assert junk.json()["counted"] is False
            told = await client.post("/v1/feedback", json={"id": signed, "label": label.strip()})
            assert told.json() == {"counted": True, "model": "echo", "variant": "int8"}
        answer = await until(client, lambda answer: sum(answer["opinions"]["by"].values()) == differing)
        assert answer["opinions"]["by"] == {"person": 1, "label": differing - 1}
        (finding,) = answer["verdict"]["findings"]
        assert (finding["n"], finding["lost"]) == (COUNT, 0)
        assert finding["value"] == pytest.approx(-differing / COUNT)
        assert {(pair["outcome"], pair["by"]) for pair in await kept(client, differing)} == {
            (-1, "person"), (-1, "label")
        }  # fmt: skip

        (file,) = (tmp_path / "answers").glob("*.sqlite")
        assert (await change(client, family.proposal()))["state"] == "done"
        gone = await client.get(PAIRS)
        assert gone.status_code == 400
        assert "are not kept" in gone.json()["error"]["message"]
        async with asyncio.timeout(30):
            while file.exists():
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"request_id": "0" * 16, "label": "pos"}, "request_id"),  # unknown
        ({"request_id": "0" * 16, "outcome": 1}, None),
        ({"request_id": "0" * 16, "variant": "int8", "outcome": 2}, "outcome"),
        ({"request_id": "x", "label": "pos"}, "request_id"),
        ({"label": "pos"}, None),
        ({"id": "forged", "label": "pos"}, "id"),
        ({"id": "forged", "variant": "int8", "outcome": 1}, None),
        ({"request_id": "0" * 16, "label": "pos", "score": 1}, "score"),
    ],
)
async def test_refuses_an_opinion_that_makes_no_sense(tmp_path: Path, wrong: dict[str, Any], field: str | None) -> None:
    family = family_of(tmp_path)
    async with local(tmp_path, stack_of(family, keep_answers={}), family.artifacts) as served:
        answer = await served.client.post("/v1/feedback", json=wrong)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == field


async def test_reading_needs_the_right_admin_and_a_label_the_right_label(tmp_path: Path) -> None:
    from hashlib import sha256

    family = family_of(tmp_path)
    document = stack_of(family, keep_answers={}).model_dump(mode="json", by_alias=True)
    document["server"]["keys"] = {
        name: {"sha256": sha256(name.encode()).hexdigest(), "rights": rights}
        for name, rights in {"chief": ["admin"], "critic": ["feedback"]}.items()
    }
    async with local(tmp_path, Stack.model_validate(document), family.artifacts) as served:
        read_by = {
            name: (await served.client.get(PAIRS, headers={"authorization": f"Bearer {name}"})).status_code
            for name in ("chief", "critic")
        }
        label = await served.client.post(
            "/v1/feedback", json={"request_id": "0" * 16, "label": "pos"}, headers={"authorization": "Bearer critic"}
        )
    assert read_by == {"chief": 200, "critic": 403}
    assert label.status_code == 403


async def test_a_judge_decides_where_answers_differ_and_is_measured_by_labels(tmp_path: Path, referee: str) -> None:
    family = family_of(tmp_path, errs=0.4)
    judge = {"model": "referee", "url": referee, "key_env": "REFEREE_KEY"}
    async with local(tmp_path, stack_of(family, judge=judge), family.artifacts) as served:
        client = served.client
        assert (await client.post(ROLLOUT, json=PLAN)).status_code == 200
        await ask(client)
        answer = await until(
            client,
            lambda answer: (
                answer["pairs"]["compared"] == COUNT
                and answer["opinions"]["by"].get("judge") == answer["opinions"]["differing"]
            ),
        )
        differing = answer["opinions"]["differing"]
        (finding,) = answer["verdict"]["findings"]
        assert (finding["n"], finding["lost"]) == (COUNT, 0)
        assert finding["value"] == pytest.approx(-differing / COUNT)
        assert "judge's agreement with labels is unknown" in describe_rollout(answer)
        await ask(client, label=True)
        answer = await until(client, lambda answer: answer["opinions"]["judge"]["agreed"] == differing)
        assert answer["opinions"]["judge"]["disagreed"] == 0
        assert answer["opinions"]["by"] == {"judge": 2 * differing}  # no key is trusted to label here
        assert f"the judge agrees with the label in {differing} of {differing}" in describe_rollout(answer)
        assert not (tmp_path / "answers").exists()
