"""A scorer: the share of a label's letters that stand in the answer, whatever their case and order."""

from collections import Counter


def letters(answer: str, label: str) -> float:
    """From 0, no letter is there, to 1, all are. It must be fast: it scores live requests too."""
    wanted, given = Counter(label.lower()), Counter(answer.lower())
    return (wanted & given).total() / wanted.total() if wanted else 1.0
