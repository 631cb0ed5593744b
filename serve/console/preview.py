"""Who moves when a model's traffic changes: the clients of a sample, assigned by the router before and after."""

from collections import Counter
from dataclasses import dataclass

from serve.config.traffic import Traffic
from serve.dataplane.router import preference

CLIENTS = 2000


@dataclass(frozen=True)
class Preview:
    """`moves` has the share of clients by (variant before, variant after), the largest first; `stay` is the rest.
    `pins` has pinned clients that change, with their variant before and after, None for no pin."""

    moves: tuple[tuple[str, str, float], ...]
    stay: float
    pins: tuple[tuple[str, str | None, str | None], ...]


def preview(model: str, before: Traffic, after: Traffic, key: bytes) -> Preview:
    """`key` is the server's own (`serve.protocols.hash_keys`). The clients' names are made up, but like all names they
    are spread evenly."""
    counted: Counter[tuple[str, str]] = Counter()
    for number in range(CLIENTS):
        client = f"{model}\0preview {number}"
        counted[first(client, before, key), first(client, after, key)] += 1
    moves = tuple((*pair, count / CLIENTS) for pair, count in counted.most_common() if pair[0] != pair[1])
    pinned = sorted({*before.pins, *after.pins})
    pins = tuple((name, before.pins.get(name), after.pins.get(name)) for name in pinned)
    return Preview(moves, 1 - sum(share for *_, share in moves), tuple(each for each in pins if each[1] != each[2]))


def first(client: str, traffic: Traffic, key: bytes) -> str:
    """The variant that answers this client while every variant is ready."""
    return preference(client, traffic.weights, key)[0]
