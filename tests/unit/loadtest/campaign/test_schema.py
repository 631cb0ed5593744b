"""The campaign file: what is refused, and that the refusal says where and what would be right."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import loadtest
from loadtest.campaign.schema import parse_campaign, read_campaign
from variants.errors import StackError

DEMO = Path(loadtest.__file__).parent / "campaigns" / "demo.yaml"


def demo() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(DEMO.read_text())
    return document


def refusal(document: Any) -> StackError:
    with pytest.raises(StackError) as caught:
        parse_campaign(document)
    return caught.value


def test_the_large_demo_asks_all_models_too() -> None:
    campaign = read_campaign(DEMO.with_name("demo-all.yaml"))
    assert campaign.accuracy is not None
    assert {test.model for test in campaign.accuracy.tests} == {"smollm2", "digits", "minilm"}


def test_the_demo_asks_for_what_the_demo_has_to_show() -> None:
    campaign = read_campaign(DEMO)
    assert campaign.accuracy is not None
    assert campaign.speed is not None
    wanted = {(test.model, test.task): test.n for test in campaign.accuracy.tests}
    assert wanted == {
        ("smollm2", "rotten_tomatoes"): 120,
        ("digits", "mnist"): 1000,
        ("minilm", "r8_triplets"): 250,
    }
    assert campaign.speed.clients == 8
    assert {test.model for test in campaign.speed.tests} == {"smollm2", "digits", "minilm"}
    assert all(test.slices >= 3 for test in campaign.speed.tests)
    assert campaign.mixed is not None


def test_an_unknown_key_names_its_place_and_the_nearest_known_one() -> None:
    document = demo()
    document["speed"]["tests"][0]["slice_seconds"] = 8
    error = refusal(document)
    assert error.field == "speed.tests[0].slice_seconds"
    assert error.mend == "did you mean 'slices'?" or error.mend == "did you mean 'slice_s'?"


def test_an_unknown_key_at_the_top_is_refused() -> None:
    error = refusal(demo() | {"acuracy": {}})
    assert error.field == "acuracy"
    assert error.mend == "did you mean 'accuracy'?"


def test_a_key_like_no_other_lists_the_known_ones() -> None:
    document = demo()
    document["mixed"]["zzz"] = 1
    error = refusal(document)
    assert error.field == "mixed.zzz"
    assert error.mend is not None
    assert "arrivals" in error.mend


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("schema",), 2, "schema"),
        (("limit_s",), 0, "limit_s"),
        (("mixed", "arrivals", 0, "per_s"), -1, "mixed.arrivals[0].per_s"),
        (("mixed", "arrivals", 0, "ask"), "picture", "mixed.arrivals[0].ask"),
        (("accuracy", "tests", 1, "n"), 1, "accuracy.tests[1].n"),
        (("speed", "tests", 0, "slices"), 2, "speed.tests[0].slices"),
        (("speed", "clients"), "eight", "speed.clients"),
    ],
)
def test_a_wrong_value_names_its_place(path: tuple[str | int, ...], value: object, field: str) -> None:
    document = demo()
    inner: Any = document
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    error = refusal(document)
    assert error.field == field
    assert "found" in error.message


def test_tokens_are_needed_for_text_and_refused_for_labels() -> None:
    for change in ({"max_tokens": None}, {"ask": "label"}):
        document = demo()
        document["mixed"]["arrivals"][0] |= change
        error = refusal(document)
        assert error.field == "mixed.arrivals[0]"
        assert "max_tokens" in error.message


def test_two_speed_tests_of_one_model_are_refused() -> None:
    document = demo()
    document["speed"]["tests"].append(document["speed"]["tests"][1] | {"slice_s": 3})
    error = refusal(document)
    assert error.field == "speed.tests"
    assert error.message == "digits has two speed tests: put the second one into a campaign of its own"


def test_a_campaign_without_parts_is_refused() -> None:
    error = refusal({"schema": 1, "name": "empty", "limit_s": 10})
    assert "mixed, accuracy, speed" in error.message


def test_a_missing_file_and_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no campaign file"):
        read_campaign(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("schema: [1")
    with pytest.raises(StackError, match="cannot be read as YAML"):
        read_campaign(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(StackError, match="mapping"):
        read_campaign(tmp_path / "list.yaml")
