"""Some of everything a server is asked, over and over for a while, so that every metric is born and then moves."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx

MODEL, VARIANTS = "echo", ("baseline", "int8")
PAUSE_S = 0.05
TEXT = {"prompt": "a b c d e f", "max_tokens": 6, "ignore_eos": True}


class Ask(NamedTuple):
    """One POST and the status it gets."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    status: int


def round_of(number: int) -> Iterator[Ask]:
    """Routed, sticky, pinned, streamed, labelled right (three of four) and wrong, refused by engine and at the door."""
    yield completion(MODEL)
    yield completion(MODEL, headers={"x-understudy-client": f"client {number % 20}"})
    for variant in VARIANTS:
        pinned = f"{MODEL}@{variant}"
        yield completion(pinned)
        yield completion(pinned, stream=True)
        label = "a thing" if number % 4 else "another"
        yield completion(pinned, max_tokens=1, prompt="a th", temperature=0, headers=labelled(label))
        yield completion(pinned, temperature=99, status=400)
    yield completion("nobody", status=404)


def compared_round(number: int) -> Iterator[Ask]:
    """What a rollout compares: routed requests without chance, labelled and not."""
    label = "a thing" if number % 4 else "another"
    yield completion(MODEL, max_tokens=1, prompt="a th", temperature=0, headers=labelled(label))
    yield completion(MODEL, prompt=f"a b c {number}", temperature=0)
    yield completion(MODEL, prompt=f"a b c {number}", temperature=0, headers={"x-understudy-client": "someone"})


def completion(model: str, headers: dict[str, str] | None = None, status: int = 200, **fields: Any) -> Ask:
    return Ask("/v1/completions", {"model": model, **TEXT, **fields}, headers or {}, status)


def labelled(label: str) -> dict[str, str]:
    return {"x-understudy-label": label, "x-understudy-task": "rotten_tomatoes"}


def send(url: str, seconds: float, make: Callable[[int], Iterator[Ask]] = round_of) -> int:
    """Send rounds for that long, a multiple of four of them; gives their number. Each answer has its status."""
    until, number = time.monotonic() + seconds, 0
    with httpx.Client(base_url=url, timeout=30) as client:
        while time.monotonic() < until or number % 4:
            for ask in make(number):
                answer = client.post(ask.path, json=ask.body, headers=ask.headers)
                assert answer.status_code == ask.status, (ask, answer.text)
            number += 1
            time.sleep(PAUSE_S)
    return number
