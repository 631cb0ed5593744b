"""Which cards a study has: at most 40, parents first, and the shipped matrix as it is promised."""

from collections import Counter

import pytest

from serve.cli.main import STUDY_STACK
from serve.config.lineage import line_of, reference_of
from serve.config.loader import load
from serve.study.matrix import MOST_CARDS, family_of, matrix
from tests.support.study import BF16, INT8, scripted_stack
from variants.errors import InputError
from variants.recipes.family import kind_of, structured

WITH_ADAPTERS = ("text-generation", "text-classification", "image-classification")


def test_the_shipped_matrix_is_as_promised() -> None:
    """30 to 40 cards over five families, each with a baseline, two quantized and two pruned variants, one of them a
    smaller dense model; an adapter where adapters are trained."""
    stack = load(STUDY_STACK)
    refs = matrix(stack, None)
    assert 30 <= len(refs) <= MOST_CARDS
    kinds: dict[str, Counter[str]] = {}
    dense: Counter[str] = Counter()
    for model, variant in refs:
        recipe, family = stack.models[model].variants[variant].recipe, family_of(stack.models[model].task)
        kinds.setdefault(family, Counter())[kind_of(recipe)] += 1
        dense[family] += structured([recipe]) is True
    assert set(kinds) == {*WITH_ADAPTERS, "object-detection", "image-generation"}
    for family, counts in kinds.items():
        assert counts["baseline"] >= 1, family
        assert counts["quantized"] >= 2, family
        assert counts["pruned"] >= 2, family
        assert dense[family] >= 1, family
        assert counts["lora"] >= (family in WITH_ADAPTERS), family


def test_whatever_is_no_baseline_is_judged_against_one() -> None:
    stack = load(STUDY_STACK)
    for ref in matrix(stack, None):
        baseline = kind_of(stack.models[ref[0]].variants[ref[1]].recipe) == "baseline"
        assert (reference_of(stack, ref) is None) == baseline, ref


def test_a_family_by_itself() -> None:
    stack = load(STUDY_STACK)
    assert {stack.models[model].task for model, _ in matrix(stack, "text-generation")} == {"text-generation"}
    with pytest.raises(InputError, match="--only: no model of the family 'audio'") as refused:
        matrix(stack, "audio")
    assert "text-generation" in str(refused.value.mend)


def test_more_than_forty_cards_are_refused() -> None:
    many = {f"v{number}": BF16 for number in range(MOST_CARDS)}
    with pytest.raises(InputError, match="41 cards, and a study has at most 40"):
        matrix(scripted_stack(**many), None)


def test_parents_come_first_and_with_what_they_are_judged_against() -> None:
    stack = scripted_stack(int8=INT8, bf16=BF16)
    document = stack.model_dump(mode="json", by_alias=True, exclude_none=True)
    variants = document["models"]["bands"]["variants"]
    variants["int8"]["parent"] = "bf16"
    variants["lora"] = {
        "recipe": {
            "kind": "lora", "task": "mnist", "rank": 8, "alpha": 16, "steps": 9, "architecture": "efficientnet-lite0",
            "image_size": 64,
        },
        "engine": {"kind": "scripted"},
    }  # fmt: skip
    stack = type(stack).model_validate(document)
    assert [variant for _, variant in matrix(stack, None)] == ["baseline", "bf16", "int8", "lora"]
    assert [variant for _, variant in line_of(stack, ("bands", "int8"))] == ["baseline", "bf16", "int8"]
    assert [variant for _, variant in line_of(stack, ("bands", "lora"))] == ["baseline", "lora"]
