"""Pure scorers: an answer against a label. The ingress, the load generator and offline evaluation share these, so an
accuracy means the same wherever it was measured. No I/O, no numerical library."""

from collections.abc import Sequence


def text_matches(answer: str, label: str) -> bool:
    """Whether a one-token answer names `label`.

    An engine is asked for one token among the first tokens of all labels, so the answer is a label or its beginning:
    right when it is not empty and the label starts with it, blanks at either end aside. " pos" names " positive".
    """
    stripped = answer.strip()
    return bool(stripped) and label.strip().startswith(stripped)


def label_matches(answer: str, label: str) -> bool:
    """Whether a classifier's top label is `label`, exactly."""
    return answer == label


def is_correct(kind: str, answer: str, label: str) -> bool:
    """The scorer of a task's kind: "text" (label by likelihood) or "image" (top label). ValueError for another
    kind."""
    if kind == "text":
        return text_matches(answer, label)
    if kind == "image":
        return label_matches(answer, label)
    raise ValueError(f"no scorer for tasks of kind {kind!r}: text or image")


def top_label(scores: Sequence[float], labels: Sequence[str]) -> str:
    """The label with the highest score; the first of equals. ValueError when the lengths differ or are zero."""
    if not scores or len(scores) != len(labels):
        raise ValueError(f"{len(scores)} scores for {len(labels)} labels")
    return labels[max(range(len(scores)), key=scores.__getitem__)]


def first_tokens(encoded: Sequence[Sequence[int]], labels: Sequence[str]) -> list[int]:
    """First token id of each encoded label. ValueError when two labels share it: likelihood could not tell them
    apart."""
    firsts = [tokens[0] for tokens in encoded]
    if len(set(firsts)) != len(firsts):
        shared = [label for label, first in zip(labels, firsts, strict=True) if firsts.count(first) > 1]
        raise ValueError(f"labels share their first token: {', '.join(shared)}")
    return firsts
