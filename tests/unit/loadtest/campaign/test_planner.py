"""The plan: test examples only, each once, prompts that no cache has seen, variants in turns."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from loadtest.campaign.plan import Plan
from loadtest.campaign.planner import Planner
from loadtest.campaign.schema import Campaign, parse_campaign
from loadtest.errors import LoadError
from loadtest.target import ServerState
from loadtest.worker.requests import load_request
from tests.unit.loadtest.results.made import PICTURES, TEXT, served
from variants.errors import StackError, UnderstudyError, UnknownName
from variants.tasks import Example, Prompt, Tasks

STATE = {
    "models": [served("smollm2", "text-generation", TEXT), served("digits", "image-classification", PICTURES)],
    "machine": {},
    "versions": {},
}


class MadeTask:
    """A task whose test split is known, and whose other splits must not be asked for."""

    def __init__(self, name: str, kind: str, size: int) -> None:
        self.name, self.kind, self.size = name, kind, size
        self.fields: dict[str, object] = {}
        self.labels = {
            "text": (" positive", " negative"),
            "image": ("0", "1"),
            "triplet": ("first", "second"),
            "article": ("acq", "earn"),
            "choice": ("0", "1"),
        }[kind]

    def examples(self, split: str, n: int | None = None) -> list[Example]:
        assert split == "test"
        examples = []
        for number in range(self.size):
            words = " ".join(f"w{number}x{index}" for index in range(20))
            content: Any = {
                "text": f"Review: {words}\nSentiment:",
                "image": b"\x89PNG%d" % number,
                "triplet": (words, f"{words} near", "far"),
                "article": words,
                "choice": (words, " one", " other"),
            }[self.kind]
            examples.append(Example(f"{self.name}-{number}", content, self.labels[number % 2]))
        return examples[:n]


TASKS = {
    "reviews": MadeTask("reviews", "text", 300),
    "pictures": MadeTask("pictures", "image", 120),
    "topics": MadeTask("topics", "triplet", 60),
    "stories": MadeTask("stories", "article", 60),
    "endings": MadeTask("endings", "choice", 60),
}


def get_task(name: str) -> Any:
    if name not in TASKS:
        raise UnknownName(f"there is no task {name!r}", field="task", mend="one of reviews, pictures")
    return TASKS[name]


def tokenize(model: str, text: str) -> list[int]:
    """Two tokens a word; the first tells words apart."""
    assert model == "smollm2"
    return [token for word in text.split() for token in (sum(word.encode()), 0)]


def campaign(**parts: Any) -> Campaign:
    return parse_campaign({"schema": 1, "name": "made", "limit_s": 60, "timeout_s": 5, "seed": 5, **parts})


def plan(wanted: Campaign, state: dict[str, Any] = STATE, tokens: Any = tokenize) -> Plan:
    return Planner(wanted, ServerState.model_validate(state), tokens, get_task).plan("http://127.0.0.1:1")


def refusal(wanted: Campaign, state: dict[str, Any] = STATE, tokens: Any = tokenize) -> UnderstudyError:
    with pytest.raises(UnderstudyError) as caught:
        plan(wanted, state, tokens)
    return caught.value


ACCURACY = {
    "clients": 2,
    "limit_s": 30,
    "tests": [{"model": "smollm2", "task": "reviews", "n": 200}, {"model": "digits", "task": "pictures", "n": 120}],
}
SPEED_TEXT = {
    "model": "smollm2",
    "task": "reviews",
    "prompt_tokens": 64,
    "max_tokens": 64,
    "slices": 3,
    "slice_s": 6,
    "lead_in_s": 1,
    "warm_up_s": 2,
}
SPEED_PICTURES = {"model": "digits", "task": "pictures", "slices": 4, "slice_s": 2, "lead_in_s": 0, "warm_up_s": 1}


def test_accuracy_asks_every_variant_the_same_distinct_examples() -> None:
    made = plan(campaign(accuracy=ACCURACY))
    lanes = [stage.lanes for stage in made.stages]
    assert [len(each) for each in lanes] == [1] * 6, "one variant after the other"
    assert len({(lane.pool, lane.variant) for (lane,) in lanes}) == 6
    assert {lane.at_end for (lane,) in lanes} == {"stop"}
    for pool in made.pools.values():
        examples = [content.example for content in pool.contents]
        assert len(examples) == len(set(examples)) == (200 if pool.model == "smollm2" else 120)
        assert all(content.label in ("positive", "negative", "0", "1") for content in pool.contents)


def test_labels_are_weighed_by_their_first_token() -> None:
    pools = plan(campaign(accuracy=ACCURACY)).pools.values()
    (bias,) = [pool.logit_bias for pool in pools if pool.kind == "label"]
    assert bias == {str(sum(b"positive")): 100.0, str(sum(b"negative")): 100.0}


def test_labels_that_begin_alike_are_refused() -> None:
    error = refusal(campaign(accuracy=ACCURACY), tokens=lambda model, text: [1, 2])
    assert isinstance(error, LoadError)
    assert "share their first token" in error.message


def test_slices_take_turns_after_all_warm_ups() -> None:
    stages = plan(campaign(speed={"clients": 8, "tests": [SPEED_TEXT]})).stages
    turns = [(stage.part, stage.slice, stage.lanes[0].variant) for stage in stages]
    names = ["baseline", "int8", "nf4"]
    assert turns[:3] == [("warm-up", None, name) for name in names]
    assert [variant for _, _, variant in turns[3:6]] == ["baseline", "int8", "nf4"]
    assert [variant for _, _, variant in turns[6:9]] == ["int8", "nf4", "baseline"]
    assert [variant for _, _, variant in turns[9:]] == ["nf4", "baseline", "int8"]
    assert [index for _, index, _ in turns[3:]] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert all(len(stage.lanes) == 1 and stage.lanes[0].clients == 8 for stage in stages)


def test_prompts_are_about_so_long_and_begin_differently() -> None:
    made = plan(campaign(speed={"clients": 8, "tests": [SPEED_TEXT]}))
    (pool,) = made.pools.values()
    lengths = {len(tokenize("smollm2", content.text or "")) for content in pool.contents}
    assert lengths == {64}
    beginnings = [" ".join((content.text or "").split()[:6]) for content in pool.contents]
    assert len(set(beginnings)) == len(beginnings) > 300
    assert pool.ignore_eos
    assert {stage.lanes[0].at_end for stage in made.stages} == {"refuse"}


def test_pictures_may_be_shown_again() -> None:
    stages = plan(campaign(speed={"clients": 8, "tests": [SPEED_PICTURES]})).stages
    assert len(stages) == 3 + 4 * 3
    assert {stage.lanes[0].at_end for stage in stages} == {"again"}


def test_texts_scored_by_likelihoods_are_continued_and_never_asked_for_a_label() -> None:
    arrival = {"model": "smollm2", "task": "endings", "per_s": 5}
    mixed = {"seconds": 4, "clients": 3, "arrivals": [arrival | {"ask": "text", "max_tokens": 4}]}
    (pool,) = plan(campaign(mixed=mixed)).pools.values()
    assert (pool.kind, pool.max_tokens, pool.contents[0].label) == ("text", 4, None)
    assert {content.text.split("x")[0] for content in pool.contents if content.text} >= {"w0", "w59"}
    refused = refusal(campaign(mixed=mixed | {"arrivals": [arrival | {"ask": "label"}]}))
    assert "endings is scored by likelihoods of whole texts" in refused.message


def test_articles_are_asked_for_their_class_and_again() -> None:
    state = {**STATE, "models": [served("topics", "text-classification", PICTURES[:2])]}
    speed = SPEED_PICTURES | {"model": "topics", "task": "stories"}
    tests = [{"model": "topics", "task": "stories", "n": 60}]
    made = plan(campaign(accuracy=ACCURACY | {"tests": tests}, speed={"clients": 2, "tests": [speed]}), state)
    for pool in made.pools.values():
        assert (pool.kind, pool.logit_bias, pool.max_tokens, len(pool.contents)) == ("article", None, None, 60)
        assert [content.label for content in pool.contents[:3]] == ["acq", "earn", "acq"]
        assert pool.contents[0].text == " ".join(f"w0x{index}" for index in range(20))
    assert {lane.at_end for stage in made.stages for lane in stage.lanes} == {"stop", "again"}
    wrong = refusal(campaign(accuracy=ACCURACY | {"tests": [{"model": "topics", "task": "reviews", "n": 60}]}), state)
    assert "topics does text-classification; reviews is of text" in wrong.message


def test_triplets_are_asked_whole_and_again() -> None:
    state = {**STATE, "models": [served("minilm", "feature-extraction", PICTURES[:2])]}
    speed = SPEED_PICTURES | {"model": "minilm", "task": "topics"}
    accuracy = {**ACCURACY, "tests": [{"model": "minilm", "task": "topics", "n": 60}]}
    made = plan(campaign(accuracy=accuracy, speed={"clients": 8, "tests": [speed]}), state)
    assert {stage.lanes[0].at_end for stage in made.stages if stage.part == "speed"} == {"again"}
    for pool in made.pools.values():
        assert pool.kind == "triplet"
        assert all(content.texts and len(content.texts) == 3 for content in pool.contents)
        assert {content.label for content in pool.contents} == {"first", "second"}
    arrivals = [{"model": "minilm", "task": "topics", "ask": "text", "per_s": 1, "max_tokens": 8}]
    error = refusal(campaign(mixed={"seconds": 1, "clients": 1, "arrivals": arrivals}), state)
    assert (error.field, error.mend) == ("mixed.arrivals[0].ask", "ask: label")


def test_mixed_arrivals_are_routed_in_order_of_time_and_keep_to_other_examples() -> None:
    mixed = {
        "seconds": 10,
        "clients": 20,
        "arrivals": [
            {"model": "smollm2", "task": "reviews", "ask": "label", "per_s": 5},
            {"model": "smollm2", "task": "reviews", "ask": "text", "per_s": 1, "max_tokens": 8},
            {"model": "digits", "task": "pictures", "ask": "label", "per_s": 3},
        ],
    }
    accuracy = {**ACCURACY, "tests": [{"model": "smollm2", "task": "reviews", "n": 200}]}
    made = plan(campaign(mixed=mixed, accuracy=accuracy))
    arrivals = made.stages[0].arrivals
    times = [arrival.at_s for arrival in arrivals]
    assert times == sorted(times)
    assert 50 < len(times) < 140
    assert {arrival.client for arrival in arrivals} <= {f"client-{number}" for number in range(20)}
    seen = {made.pools[each.pool].contents[each.content].example for each in arrivals}
    asked = {
        content.example for name, pool in made.pools.items() if name.startswith("accuracy") for content in pool.contents
    }
    assert not seen & asked
    assert made == plan(campaign(mixed=mixed, accuracy=accuracy)), "the same seed, the same plan"


def test_a_plan_crosses_a_pipe_unchanged() -> None:
    made = plan(campaign(accuracy=ACCURACY, speed={"clients": 8, "tests": [SPEED_TEXT, SPEED_PICTURES]}))
    assert Plan.model_validate_json(made.model_dump_json(exclude_defaults=True)) == made
    assert "\n" not in made.model_dump_json(exclude_defaults=True)


def test_what_the_server_lacks_is_named() -> None:
    wanted = {**ACCURACY, "tests": [{"model": "smolm2", "task": "reviews", "n": 2}]}
    error = refusal(campaign(accuracy=wanted))
    assert isinstance(error, UnknownName)
    assert error.field == "accuracy.tests[0].model"
    assert error.mend == "it has smollm2, digits"


def test_an_unknown_task_is_named() -> None:
    wanted = {**ACCURACY, "tests": [{"model": "smollm2", "task": "revues", "n": 2}]}
    error = refusal(campaign(accuracy=wanted))
    assert error.field == "accuracy.tests[0].task"


def test_more_examples_than_there_are() -> None:
    wanted = {**ACCURACY, "tests": [{"model": "smollm2", "task": "reviews", "n": 301}]}
    error = refusal(campaign(accuracy=wanted))
    assert error.field == "accuracy.tests[0].n"
    assert error.mend == "at most 300"


def test_a_task_that_does_not_fit_its_model() -> None:
    wanted = {**ACCURACY, "tests": [{"model": "digits", "task": "reviews", "n": 2}]}
    error = refusal(campaign(accuracy=wanted))
    assert isinstance(error, StackError)
    assert error.field == "accuracy.tests[0].task"


def test_tokens_for_pictures_and_none_for_text() -> None:
    error = refusal(campaign(speed={"clients": 8, "tests": [SPEED_PICTURES | {"max_tokens": 64}]}))
    assert error.field == "speed.tests[0].max_tokens"
    bare = {key: value for key, value in SPEED_TEXT.items() if key != "prompt_tokens"}
    error = refusal(campaign(speed={"clients": 8, "tests": [bare]}))
    assert error.field == "speed.tests[0].prompt_tokens"


def test_a_variant_that_is_not_ready_is_waited_for_by_nobody() -> None:
    model = served("smollm2", "text-generation", TEXT)
    model["variants"][1]["ready"] = False
    error = refusal(campaign(speed={"clients": 8, "tests": [SPEED_TEXT]}), {**STATE, "models": [model]})
    assert isinstance(error, LoadError)
    assert "not ready yet: int8" in error.message


def test_drawings_carry_prompt_seed_and_label(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[bool] = []
    monkeypatch.setattr("loadtest.campaign.planner.load_or_train", lambda: trained.append(True))
    monkeypatch.setitem(TASKS, "prompts", MadePrompts())
    state = {**STATE, "models": [served("scribe", "image-generation", PICTURES)]}
    tests = [{"model": "scribe", "task": "prompts", "n": 4}]
    made = plan(campaign(accuracy={"clients": 2, "limit_s": 30, "tests": tests}), state)
    (pool,) = made.pools.values()
    assert (pool.kind, len(pool.contents)) == ("drawing", 4)
    assert pool.contents[3].model_dump(exclude_none=True) == {
        "example": "prompt-3", "text": "a handwritten 3", "seed": 3, "label": "3",
    }  # fmt: skip
    assert trained, "the classifier is there before the worker starts"
    mismatch = refusal(
        campaign(accuracy={"clients": 2, "limit_s": 30, "tests": [{**tests[0], "task": "pictures"}]}), state
    )
    assert "pictures is of image" in mismatch.message


class MadePrompts:
    name, kind, labels = "prompts", "drawing", tuple("0123456789")
    fields: Mapping[str, object] = MappingProxyType({})

    def examples(self, split: str, n: int | None = None) -> list[Example]:
        assert split == "test"
        return [Example(f"prompt-{k}", Prompt(f"a handwritten {k}", k), str(k)) for k in range(10)][:n]


def test_generated_answers_are_asked_as_the_task_says(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer\n" + "".join(f"{n} and {n}?,{2 * n}\n" for n in range(40)))
    definition = {
        "data": {"uri": str(tmp_path / "a.csv")},
        "input": "{{ question }}",
        "label": "answer",
        "scorer": "number",
        "max_tokens": 9,
        "splits": {"train": 0, "calibration": 0, "test": 1},
    }
    test = {"clients": 2, "limit_s": 9, "tests": [{"model": "smollm2", "task": "sums", "n": 30}]}
    document = {"schema": 1, "name": "own", "limit_s": 99, "accuracy": test, "tasks": {"sums": definition}}
    campaign = parse_campaign(document)
    state = ServerState.model_validate(STATE)
    plan = Planner(campaign, state, lambda model, text: [1], Tasks(campaign.tasks).get).plan("http://here")
    (pool,) = plan.pools.values()
    assert (pool.kind, pool.fields, pool.logit_bias) == ("number", {"max_tokens": 9}, None)
    assert all(str(2 * int(str(each.text).split()[0])) == each.label for each in pool.contents)
    body = json.loads(load_request(pool, pool.contents[0], "int8", None).body)
    assert (body["max_tokens"], body["temperature"], "logit_bias" in body) == (9, 0, False)
