from types import SimpleNamespace
from typing import Any

import pytest

from serve.config.lineage import compressions_of, root_of


def family(**made: tuple[str | None, str]) -> Any:
    """Variants by name, each with its parent and the kind of its recipe."""
    return {name: SimpleNamespace(parent=of, recipe=SimpleNamespace(kind=kind)) for name, (of, kind) in made.items()}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("baseline", ["baseline"]),
        ("pruned", ["baseline", "pruned"]),
        ("pruned-int8", ["baseline", "pruned", "pruned-int8"]),
        ("qlora", ["baseline", "nf4", "qlora"]),
        ("merged", ["lora", "merged"]),
        ("merged-int8", ["merged", "merged-int8"]),
    ],
)
def test_live_requests_compare_with_the_first_of_a_line_of_compressions(name: str, line: list[str]) -> None:
    variants = family(
        baseline=(None, "baseline"), pruned=("baseline", "prune"), nf4=("baseline", "quantize"),
        lora=("baseline", "lora"), merged=("lora", "merge"),
        **{"pruned-int8": ("pruned", "quantize"), "qlora": ("nf4", "lora"), "merged-int8": ("merged", "quantize")},
    )  # fmt: skip
    assert compressions_of(variants, name) == line
    assert root_of(variants, name) == (line[0] if len(line) > 1 else None)


def test_a_line_that_comes_back_to_itself_ends() -> None:
    variants = family(a=("b", "quantize"), b=("a", "quantize"))
    assert compressions_of(variants, "a") == ["b", "a"]
