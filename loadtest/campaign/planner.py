"""Makes the plan of a campaign, from the server's models and the tasks' test examples.

Only the test split is used. The accuracy part takes its first n examples. The mixed part begins at its end, so that
both take the same examples only if a task is small.
"""

import base64
import random
from collections.abc import Callable, Iterator, Sequence

from loadtest.campaign.arrivals import poisson
from loadtest.campaign.plan import Arrival, Content, Kind, Lane, Plan, Pool, Stage, Window
from loadtest.campaign.schema import Arrivals, Campaign, Mixed, SpeedTest
from loadtest.errors import LoadError
from loadtest.target import ServedModel, ServerState
from variants.errors import StackError, UnknownName
from variants.metrics import scoring
from variants.metrics.answer_scores import SCORES
from variants.metrics.kinds import PluginScorer
from variants.tasks import Chat, Example, Prompt, Task
from variants.tasks.digit_classifier.store import load_or_train

Tokenize = Callable[[str, str], list[int]]
GetTask = Callable[[str], Task]

LABEL_BIAS = 100.0
MOST_PROMPTS = 4000
SAMPLE_WORDS = 800
# For the first estimate of the time left, until the speed of the part is known.
EXPECTED_LABELS_PER_S = {
    "text": 15.0, "image": 150.0, "triplet": 40.0, "pair": 50.0, "article": 100.0, "boxes": 80.0, "drawing": 20.0,
}  # fmt: skip
EXPECTED_ANSWERS_PER_S = 2.0
EXPECTED_DRAIN_S = {
    "text": 2.0,
    "image": 0.1,
    "triplet": 0.2,
    "pair": 0.2,
    "article": 0.2,
    "boxes": 0.2,
    "drawing": 0.5,
}
KINDS: dict[str, tuple[Kind, ...]] = {
    "text-generation": ("text",),
    "text-classification": ("article",),
    "image-classification": ("image",),
    "feature-extraction": ("triplet", "pair"),
    "object-detection": ("boxes",),
    "image-generation": ("drawing",),
}
"""The kinds of examples for each task of a model."""
UNLABELLED = ("choice", "passage")
"""Texts that are scored by likelihoods of whole texts. A campaign asks to continue them, and scores no answer."""


class Planner:
    """Makes one plan. `tokenize(model, text)` returns token ids, and `get_task(name)` a task."""

    def __init__(self, campaign: Campaign, state: ServerState, tokenize: Tokenize, get_task: GetTask) -> None:
        self.campaign = campaign
        self.state = state
        self.tokenize = tokenize
        self.get_task = get_task
        self.pools: dict[str, Pool] = {}
        self.random = random.Random(campaign.seed)

    def plan(self, target_url: str) -> Plan:
        """The plan. Raises StackError or UnknownName if the file asks for something that does not exist, and LoadError
        for a fault of the server."""
        stages = (*self._mixed(), *self._accuracy(), *self._speed())
        return Plan(
            target_url=target_url,
            timeout_s=self.campaign.timeout_s,
            limit_s=self.campaign.limit_s,
            pools=self.pools,
            stages=stages,
        )

    def _mixed(self) -> Iterator[Stage]:
        mixed = self.campaign.mixed
        if mixed is None:
            return
        arrivals: list[Arrival] = []
        for number, wanted in enumerate(mixed.arrivals):
            arrivals += self._stream(mixed, wanted, f"mixed.arrivals[{number}]")
        arrivals.sort(key=lambda arrival: arrival.at_s)
        rate = sum(wanted.per_s for wanted in mixed.arrivals)
        yield Stage(
            part="mixed",
            text=f"routed by weight, {rate:g} arrivals a second",
            limit_s=mixed.seconds + 2 * self.campaign.timeout_s,
            expected_s=mixed.seconds + 1,
            in_flight=mixed.in_flight,
            arrivals=tuple(arrivals),
        )

    def _stream(self, mixed: Mixed, wanted: Arrivals, field: str) -> list[Arrival]:
        model, task = self._pair(wanted.model, wanted.task, field)
        examples = list(reversed(task.examples("test")))
        pool_id = f"{field} {wanted.model}/{wanted.task}"
        if wanted.ask == "text":
            if not writes(task):
                message = f"{wanted.model} does {model.task} and writes no text"
                raise StackError(message, field=f"{field}.ask", mend="ask: label")
            self.pools[pool_id] = Pool(
                kind="text",
                model=wanted.model,
                task=wanted.task,
                contents=tuple(_content(example, scored=False) for example in examples),
                max_tokens=wanted.max_tokens,
            )
        else:
            self.pools[pool_id] = self._labelled(model, task, examples, field)
        return [
            Arrival(
                at_s=at,
                pool=pool_id,
                content=number % len(examples),
                client=f"client-{self.random.randrange(mixed.clients)}",
            )
            for number, at in enumerate(poisson(wanted.per_s, mixed.seconds, self.random))
        ]

    def _accuracy(self) -> Iterator[Stage]:
        accuracy = self.campaign.accuracy
        if accuracy is None:
            return
        for number, test in enumerate(accuracy.tests):
            field = f"accuracy.tests[{number}]"
            model, task = self._pair(test.model, test.task, field)
            examples = task.examples("test")
            if len(examples) < test.n:
                message = f"the test split of {task.name} has no {test.n} examples"
                raise StackError(message, field=f"{field}.n", mend=f"at most {len(examples)}")
            if task.kind == "pair" and len({float(each.label) for each in examples[: test.n]}) == 1:
                message = f"the first {test.n} scores of {task.name} are equal: there is no order to compare with"
                raise StackError(message, field=f"{field}.n", mend="ask for more")
            pool_id = f"{field} {test.model}/{test.task}"
            self.pools[pool_id] = self._labelled(model, task, examples[: test.n], field)
            for variant in model.variants:
                name = variant.variant
                yield Stage(
                    part="accuracy",
                    text=f"{test.model}@{name}, each labelled example once",
                    limit_s=accuracy.limit_s,
                    expected_s=test.n / EXPECTED_LABELS_PER_S.get(task.kind, EXPECTED_ANSWERS_PER_S),
                    lanes=(Lane(pool=pool_id, variant=name, clients=accuracy.clients, at_end="stop"),),
                )

    def _speed(self) -> Iterator[Stage]:
        speed = self.campaign.speed
        if speed is None:
            return
        for number, test in enumerate(speed.tests):
            field = f"speed.tests[{number}]"
            model, task = self._pair(test.model, test.task, field)
            pool_id = f"{field} {test.model}/{test.task}"
            self.pools[pool_id] = self._speed_pool(model, task, test, field)
            names = [variant.variant for variant in model.variants]
            yield from (self._window(test, task, pool_id, name, None) for name in names)
            for index in range(test.slices):
                turn = index % len(names)
                for name in names[turn:] + names[:turn]:
                    yield self._window(test, task, pool_id, name, index)

    def _window(self, test: SpeedTest, task: Task, pool_id: str, variant: str, index: int | None) -> Stage:
        assert self.campaign.speed is not None
        clients = self.campaign.speed.clients
        warm_up = index is None
        lead_in = 0.0 if warm_up else test.lead_in_s
        seconds = test.warm_up_s if warm_up else test.slice_s
        what = "warm-up" if index is None else f"slice {index + 1} of {test.slices}"
        at_end = "refuse" if writes(task) else "again"
        return Stage(
            part="warm-up" if warm_up else "speed",
            text=f"{test.model}@{variant} alone, {what}, {clients} clients",
            limit_s=lead_in + seconds + 2 * self.campaign.timeout_s,
            expected_s=lead_in + seconds + EXPECTED_DRAIN_S.get(task.kind, EXPECTED_DRAIN_S["text"]),
            lanes=(Lane(pool=pool_id, variant=variant, clients=clients, at_end=at_end),),
            window=Window(lead_in_s=lead_in, seconds=seconds),
            slice=index,
        )

    def _speed_pool(self, model: ServedModel, task: Task, test: SpeedTest, field: str) -> Pool:
        for name, value in (("prompt_tokens", test.prompt_tokens), ("max_tokens", test.max_tokens)):
            if writes(task) != (value is not None):
                need = "is needed for a text task" if writes(task) else "is for text tasks only"
                raise StackError(need, field=f"{field}.{name}", mend="see loadtest/campaigns/demo.yaml")
        examples = task.examples("test")
        if not writes(task):
            return self._labelled(model, task, examples, field)
        assert test.prompt_tokens is not None
        prompts = self._prompts(test.model, examples, test.prompt_tokens)
        return Pool(
            kind="text",
            model=test.model,
            task=test.task,
            contents=tuple(Content(example=f"words-{at}", text=text) for at, text in prompts),
            max_tokens=test.max_tokens,
            ignore_eos=True,
        )

    def _prompts(self, model: str, examples: Sequence[Example], tokens: int) -> list[tuple[int, str]]:
        """Pieces of the test split's text with about `tokens` tokens, all with different beginnings."""
        words = [word for example in examples for word in _text_of(example).split()]
        sample = " ".join(words[:SAMPLE_WORDS])
        per_word = len(self.tokenize(model, sample)) / len(words[:SAMPLE_WORDS])
        size = max(1, round(tokens / per_word))
        pieces: dict[str, tuple[int, str]] = {}
        # First adjacent pieces, then the same shifted by some words: their new beginnings are in no prefix cache.
        for shift in range(size):
            for at in range(shift, len(words) - size, size):
                text = " ".join(words[at : at + size])
                pieces.setdefault(text[:40], (at, text))
                if len(pieces) == MOST_PROMPTS:
                    return list(pieces.values())
        return list(pieces.values())

    def _labelled(self, model: ServedModel, task: Task, examples: Sequence[Example], field: str) -> Pool:
        if task.kind in UNLABELLED:
            message = f"{task.name} is scored by likelihoods of whole texts, which no campaign asks for"
            raise StackError(message, field=f"{field}.task", mend="ask: text, and `understudy evaluate` for its figure")
        text = task.kind == "text"
        kind: Kind = "label" if text else next((each for each in KINDS[model.task] if each == task.kind), "label")
        if task.kind in SCORES:
            kind = PluginScorer(task.kind)
        return Pool(
            kind=kind,
            fields=dict(task.fields),
            model=model.model,
            task=task.name,
            contents=tuple(_content(example, scored=True) for example in examples),
            max_tokens=1 if text else None,
            logit_bias=self._label_bias(model.model, task) if text else None,
        )

    def _label_bias(self, model: str, task: Task) -> dict[str, float]:
        encoded = [self.tokenize(model, label) for label in task.labels]
        try:
            return {str(token): LABEL_BIAS for token in scoring.first_tokens(encoded, task.labels)}
        except ValueError as error:
            raise LoadError(f"{task.name} with the tokenizer of {model}: {error}") from None

    def _pair(self, model: str, task_name: str, field: str) -> tuple[ServedModel, Task]:
        """The model and the task. Raises UnknownName if one does not exist, StackError if they do not fit each other,
        and LoadError if a variant is not ready."""
        served = self.state.served(model, f"{field}.model")
        try:
            task = self.get_task(task_name)
        except UnknownName as error:
            raise UnknownName(error.message, field=f"{field}.task", mend=error.mend) from None
        if task.kind not in KINDS[served.task] and not (served.task == "text-generation" and writes(task)):
            raise StackError(f"{model} does {served.task}; {task_name} is of {task.kind}", field=f"{field}.task")
        if task.kind == "drawing":
            load_or_train()  # training imports torch, which the worker must not
        waiting = [variant.variant for variant in served.variants if not variant.ready]
        if waiting:
            raise LoadError(f"{model}: not ready yet: {', '.join(waiting)}", mend="wait until /admin/v1/models says so")
        return served, task


def writes(task: Task) -> bool:
    """Whether a model that generates text continues the task's prompts."""
    return task.kind in ("text", *UNLABELLED) or task.kind in SCORES


def _text_of(example: Example) -> str:
    if isinstance(example.input, Chat):
        return " ".join(text for _, text in example.input.messages)
    return example.input[0] if isinstance(example.input, tuple) else str(example.input)


def _content(example: Example, *, scored: bool) -> Content:
    label = example.label.strip() if scored else None
    if isinstance(example.input, bytes):
        return Content(example=example.id, png=base64.b64encode(example.input).decode(), label=label)
    if isinstance(example.input, tuple):
        texts = example.input
        return (
            Content(example=example.id, texts=texts, label=label)
            if scored
            else Content(example=example.id, text=texts[0])
        )
    if isinstance(example.input, Chat):
        return Content(example=example.id, messages=example.input.messages, label=label)
    if isinstance(example.input, Prompt):
        return Content(example=example.id, text=example.input.text, seed=example.input.seed, label=label)
    return Content(example=example.id, text=example.input, label=label)
