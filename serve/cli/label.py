"""`understudy label`: a person says which of two answers is better, without knowing whose they are.

Which answer stands left is drawn by a coin, seeded by the pair, so that a second look shows the same. Each opinion is
sent at once. So whoever stops goes on later where they were.
"""

import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

import click

from serve.client.client import Client

KEYS = {"l": "left", "r": "right", "t": "tie", "s": "skip", "q": "quit", "\x1b[D": "left", "\x1b[C": "right"}
"""What a person types, by its first letter or as an arrow key."""
HELP = "l or ←: left is better   r or →: right   t: tie   s: skip   q: quit"
CLEAR = "\x1b[2J\x1b[H"
LEFT = {"left": 1, "right": -1, "tie": 0}
"""What each choice says of the left answer."""


@dataclass
class Labelled:
    """Numbers of pairs: opinions that counted, opinions that did not by the reason, and skipped ones."""

    counted: int = 0
    skipped: int = 0
    uncounted: Counter[str] = field(default_factory=Counter)


def label_pairs(client: Client, model: str, variant: str, limit: int) -> Labelled:
    """Show the pairs without an opinion one after the other and send what is said of them."""
    pairs = [pair for pair in client.pairs(model, variant, limit)["pairs"] if pair["outcome"] is None]
    if not pairs:
        print("no pair waits for an opinion", file=sys.stderr)
    choices = keys_of(sys.stdin)
    done = Labelled()
    for number, pair in enumerate(pairs, 1):
        show(pair, number, len(pairs), sys.stderr)
        choice = next(choices, "quit")
        if choice == "quit":
            break
        if choice == "skip":
            done.skipped += 1
            continue
        outcome = LEFT[choice] * (1 if variant_is_left(pair["id"]) else -1)
        receipt = client.give_opinion({"request_id": pair["id"], "variant": variant, "outcome": outcome})
        done.counted += receipt["counted"]
        done.uncounted.update([] if receipt["counted"] else [receipt["why"]])
    return done


def variant_is_left(pair_id: str) -> bool:
    """A coin for each pair."""
    return random.Random(pair_id).random() < 0.5


def show(pair: dict[str, Any], number: int, count: int, out: TextIO) -> None:
    """One page: what was asked, and both answers without their names."""
    left, right = pair["answers"]["variant"], pair["answers"]["parent"]
    if not variant_is_left(pair["id"]):
        left, right = right, left
    prompt = "(not a text; it was left out)" if pair["prompt"] is None else pair["prompt"]
    page = f"{number} of {count}\n\n{prompt}\n\n--- left ---\n{left}\n\n--- right ---\n{right}\n\n{HELP}\n"
    # an answer must not steer the terminal
    out.write(CLEAR if out.isatty() else "")
    out.write("".join(each if each.isprintable() or each == "\n" else " " for each in page))
    out.flush()


def keys_of(source: TextIO) -> Iterator[str]:
    """The choices: single keys of a terminal, or the lines of any other source. What is none is passed over."""
    typed: Iterable[str] = iter(click.getchar, "") if source.isatty() else source
    for each in typed:
        word = each if each in KEYS else each.strip().lower()[:1]
        if word in KEYS:
            yield KEYS[word]
