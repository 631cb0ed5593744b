"""Guesses about the columns of a table: which has the text, which the label, and how answers are scored."""

from collections.abc import Sequence

from serve.init.table import Table
from variants.errors import InputError
from variants.tasks.data.definition import SPLITS
from variants.tasks.file_task import is_number

LABELS = ("label", "labels", "class", "category", "intent", "sentiment", "topic", "target", "answer", "answerkey", "y")
TEXTS = (
    "text", "sentence", "review", "body", "content", "message", "description", "title", "context", "passage",
    "question", "prompt", "goal", "input", "premise", "hypothesis", "sentence1", "sentence2", "text1", "text2",
    "question1", "question2",
)  # fmt: skip
SPLIT_COLUMNS = ("split", "fold", "subset", "partition")
SCORE_NAMES = ("score", "similarity", "similarity_score")
MOST_LABELS = 100
CHOICE_LABELS = 20
"""More labels than these are generated and not chosen by likelihood: each costs a prompt."""
CHARACTERS = 4.0
"""Of a token, in English."""


def guess_label(table: Table, reasons: dict[str, str]) -> str | None:
    """The column of labels: by its name, or the only one that has few values; None for a table of one column."""
    named = [each for each in table.columns if each.lower() in LABELS]
    if named:
        others = [each for each in table.columns if each != named[0] and is_label(table, each)]
        reasons["label"] = "by its name" + (f"; {', '.join(others)} has few values too: --label" if others else "")
        return named[0]
    if len(table.columns) == 1:
        return None
    few = [each for each in table.columns if is_label(table, each)]
    if len(few) == 1:
        reasons["label"] = f"the only column with few values: {len(table.kinds(few[0]))}"
        return few[0]
    shown = ", ".join(table.columns)
    raise InputError(
        f"{table.path}: which column is the label? Candidates: {', '.join(few) or 'none'}",
        field="--label",
        mend=f"name one of {shown}; --labels FILE for labels in a second file; without a header --columns",
    )


def guess_text(table: Table, taken: Sequence[str], reasons: dict[str, str]) -> tuple[str, ...]:
    """The columns of text: by their names, or else the one with the longest values."""
    free = [each for each in table.columns if each not in (*taken, "image")]
    if not free:
        raise InputError(f"{table.path} has no column of text beside {', '.join(taken)}", field="--text")
    named = tuple(each for each in free if each.lower() in TEXTS)
    longest = max(free, key=lambda each: mean_length(table, each))
    reasons["input"] = "by its name" if named else "the column with the longest values"
    chosen = named or (longest,)
    if odd := next((each for each in chosen if not each.isidentifier()), None):
        raise InputError(f"{table.path}: a template cannot name the column {odd!r}", field="--text", mend="rename it")
    return chosen


def endings(table: Table) -> tuple[str, ...]:
    """Columns that share a name but for a number at its end, as sol1 and sol2; empty without such."""
    by_stem: dict[str, list[str]] = {}
    for each in table.columns:
        if each[-1:].isdecimal() and each.lower() not in TEXTS:
            by_stem.setdefault(each.rstrip("0123456789"), []).append(each)
    groups = [group for group in by_stem.values() if len(group) > 1]
    return tuple(groups[0]) if len(groups) == 1 else ()


def scorer_of(table: Table, label: str, labels: Sequence[str], reasons: dict[str, str]) -> str:
    if len(labels) <= CHOICE_LABELS and is_label(table, label) and not begin_alike(labels):
        reasons["scorer"] = f"{len(labels)} labels, so the likeliest counts"
        return "choice"
    if all(is_number(value) for value in table.values(label)):
        reasons["scorer"] = "the last number of the answer counts"
        return "number"
    if is_label(table, label):
        reasons["scorer"] = (
            "labels begin alike or are many, so the answer is generated, and must begin with the right one"
        )
        return "prefix"
    reasons["scorer"] = "answers are texts, so their words are compared"
    return "f1"


def split_column_of(table: Table) -> str | None:
    """A column that says which split its row is of."""
    named = [each for each in table.columns if each.lower() in SPLIT_COLUMNS and table.kinds(each)]
    return next((each for each in named if {value.lower() for value in table.kinds(each)} <= SPLITS.keys()), None)


def begin_alike(labels: Sequence[str]) -> bool:
    """Whether two labels have the first word in common: likelihoods are compared at the first token."""
    firsts = [each.split()[0].lower() if each.split() else "" for each in labels]
    return len(set(firsts)) < len(firsts)


def tokens_of(table: Table, text: Sequence[str]) -> int:
    """A power of two that nine of ten texts fit into, at `CHARACTERS` a token."""
    lengths = sorted(sum(len(row[each]) for each in text) for row in table.rows)
    wanted = lengths[int(0.9 * (len(lengths) - 1))] / CHARACTERS
    return next((size for size in (32, 64, 128, 256) if wanted <= size), 512)


def is_label(table: Table, column: str) -> bool:
    """Whether a column has few values, each several times."""
    kinds = table.kinds(column)
    return 1 < len(kinds) <= MOST_LABELS and table.count >= 3 * len(kinds)


def are_classes(table: Table, column: str) -> bool:
    """Whether a column of numbers rather names classes: it is not called a score, and has a few whole numbers."""
    named = column.lower() in SCORE_NAMES
    return not named and is_label(table, column) and all(each.isdecimal() for each in table.kinds(column))


def mean_length(table: Table, column: str) -> float:
    return sum(map(len, table.values(column))) / len(table.rows)
