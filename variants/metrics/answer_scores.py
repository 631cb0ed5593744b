"""Scores of generated answers against a label, from 0 to 1. Pure functions, by the name that a task gives as `scorer`.

    exact      the answer is the label, blanks at both ends aside
    prefix     the answer begins with the label
    contains   the label stands in the answer
    regex      the label, a regular expression, matches somewhere in the answer
    number     the last number of the answer equals the label (as for GSM8K, Cobbe et al. 2021, arXiv 2110.14168)
    json       both are the same JSON value
    schema     the answer is JSON that satisfies the label, a JSON schema (`variants.metrics.json_schema`)
    f1         F1 of the words, without case, articles and punctuation (SQuAD, Rajpurkar et al. 2016, arXiv 1606.05250)
    rouge-l    F-measure of the longest common subsequence of words (Lin 2004, ACL W04-1013)

Plug-ins of the group `understudy.scorers` add to them (`variants.plugins`): functions of an answer and a label that
give a score from 0 to 1.

A label comes from a task's data, or from the header of a live request. So a regular expression has a time limit, and a
wrong one matches nothing.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial

import regex

from variants import plugins
from variants.metrics.json_schema import json_of, satisfies
from variants.metrics.kinds import OTHER_KINDS, OTHER_SCORERS

Score = Callable[[str, str], float]
LIMIT_S = 0.1
MOST_WORDS = 1024
"""Words of an answer or label that F1 and ROUGE-L read: the time of the latter grows with their product."""
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?|[-+]?\.\d+")
ARTICLES = ("a", "an", "the")


def number_of(text: str) -> float | None:
    """The last number of a text, without commas between its digits."""
    numbers = NUMBER.findall(text)
    return float(numbers[-1].replace(",", "")) if numbers else None


def exact(answer: str, label: str) -> float:
    return float(answer.strip() == label.strip())


def prefix(answer: str, label: str) -> float:
    return float(answer.strip().startswith(label.strip()))


def contains(answer: str, label: str) -> float:
    return float(label.strip() in answer)


def matches(answer: str, label: str) -> float:
    try:
        return float(regex.search(label, answer, timeout=LIMIT_S) is not None)
    except (regex.error, TimeoutError):
        return 0.0


def same_number(answer: str, label: str) -> float:
    given, wanted = number_of(answer), number_of(label)
    return float(given is not None and given == wanted)


def same_json(answer: str, label: str) -> float:
    try:
        return float(json_of(answer) == json_of(label))
    except (ValueError, RecursionError):  # values that were read may still be too deep to compare
        return 0.0


def words_f1(answer: str, label: str) -> float:
    given, wanted = plain_words(answer), plain_words(label)
    if not given or not wanted:
        return float(given == wanted)
    return f_measure(sum((Counter(given) & Counter(wanted)).values()), len(given), len(wanted))


def rouge_l(answer: str, label: str) -> float:
    given, wanted = answer.lower().split()[:MOST_WORDS], label.lower().split()[:MOST_WORDS]
    if not given or not wanted:
        return float(given == wanted)
    return f_measure(longest_common(given, wanted), len(given), len(wanted))


def f_measure(common: int, given: int, wanted: int) -> float:
    """The harmonic mean of precision and recall."""
    return 2 * common / (given + wanted)


def plain_words(text: str) -> list[str]:
    plain = text.lower().translate(str.maketrans("", "", string.punctuation))
    return [word for word in plain.split()[:MOST_WORDS] if word not in ARTICLES]


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, theirs in enumerate(other, 1):
            before, row[at] = row[at], before + 1 if word == theirs else max(row[at], row[at - 1])
    return row[-1]


BUILT_IN: Mapping[str, Score] = {
    "exact": exact,
    "prefix": prefix,
    "contains": contains,
    "regex": matches,
    "number": same_number,
    "json": same_json,
    "schema": satisfies,
    "f1": words_f1,
    "rouge-l": rouge_l,
}


class Scorers(Mapping[str, Score]):
    """The built-in scorers and the plug-ins, by name. The names are known before a plug-in is imported.

    `[]` raises PluginError for one that cannot be used."""

    def __getitem__(self, name: str) -> Score:
        return scorer(name)

    def __contains__(self, name: object) -> bool:
        return name in BUILT_IN or name in plugins.names("scorers")

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*BUILT_IN, *plugins.names("scorers"))))

    def __len__(self) -> int:
        return len(list(iter(self)))


SCORES = Scorers()


@cache
def scorer(name: str) -> Score:
    plugin = plugins.find("scorers", name, (*BUILT_IN, *OTHER_KINDS, *OTHER_SCORERS))
    if plugin is None:
        return BUILT_IN[name]
    score: Score = plugin.load(callable, "function of an answer and a label")
    return partial(checked, plugin, score)


def checked(plugin: plugins.Plugin, score: Score, answer: str, label: str) -> float:
    """The score that a plug-in gives. Raises PluginError for an exception, and for what is no number from 0 to 1."""
    with plugin.called("fails on an answer"):
        given = score(answer, label)
    if not isinstance(given, int | float) or not 0 <= given <= 1:
        raise plugin.refused(f"gives {given!r:.80}, no score from 0 to 1")
    return float(given)


def is_share(name: str) -> bool:
    """Whether a scorer's scores may lie between 0 and 1, as a plug-in's may."""
    return name in SCORES and (name not in BUILT_IN or name in ("f1", "rouge-l"))


def made_by(name: str) -> str | None:
    """The plug-in that a scorer is of, with its version (`Plugin.identity`); None for a built-in one."""
    plugin = plugins.find("scorers", name, ()) if name not in BUILT_IN else None
    return plugin.identity if plugin else None


def score_of(scorer: str, answer: str, label: str) -> float | None:
    """The score by the scorer of that name; None where there is no such scorer. Raises PluginError."""
    return SCORES[scorer](answer, label) if scorer in SCORES else None
