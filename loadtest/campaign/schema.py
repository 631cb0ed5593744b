"""The schema of the campaign file: which requests, how many, and in which order. Unknown keys are refused.

A campaign has up to three parts, which run one after the other:

    mixed     open loop, routed by weight: requests come at planned times, whether or not earlier ones are answered
    accuracy  each variant is pinned and asked every labelled example once; one variant after the other, because on few
              cores several engines at once take longer than in turn
    speed     closed loop: each variant is pinned and alone, in slices that take turns

A campaign does not name variants: it asks all that the server has. `planner.py` makes the plan of it, which
`loadtest.worker` carries out.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from variants.document import Document, explain
from variants.errors import StackError
from variants.tasks import check_names
from variants.tasks.task_file import TaskFile, with_task_files

Ask = Literal["text", "label"]


class Arrivals(Document):
    """One Poisson stream of routed requests, `per_s` of them a second on average.

    `ask: text` asks to continue an example of the task by `max_tokens` tokens, and `ask: label` asks for its label.
    """

    model: str
    task: str
    ask: Ask
    per_s: float = Field(gt=0, le=10_000)
    max_tokens: int | None = Field(default=None, ge=1, le=4096, description="for ask: text only")

    @model_validator(mode="after")
    def check_tokens(self) -> Self:
        if (self.ask == "text") != (self.max_tokens is not None):
            raise ValueError("max_tokens belongs to ask: text, and is required there")
        return self


class Mixed(Document):
    """An open loop of `seconds` seconds. Each of the `clients` virtual clients has its own name, so it keeps its
    variant."""

    seconds: float = Field(gt=0, le=3600)
    clients: int = Field(ge=1, le=100_000)
    in_flight: int = Field(
        default=64, ge=1, le=10_000, description="most requests at once; the latency of later ones includes their wait"
    )
    arrivals: tuple[Arrivals, ...] = Field(min_length=1)


class AccuracyTest(Document):
    """The first `n` test examples of a task. Each is sent once to every variant of the model."""

    model: str
    task: str
    n: int = Field(ge=2, le=1_000_000)


class Accuracy(Document):
    """`clients` requests at once, to one variant at a time. A test of a variant may take at most `limit_s` seconds."""

    clients: int = Field(ge=1, le=1000)
    limit_s: float = Field(gt=0, le=7200)
    tests: tuple[AccuracyTest, ...] = Field(min_length=1)


class SpeedTest(Document):
    """`slices` slices for each variant. Each variant has one warm-up, and each slice a lead-in before its window. Times
    are in seconds."""

    model: str
    task: str
    slices: int = Field(ge=3, le=100)
    slice_s: float = Field(gt=0, le=600)
    lead_in_s: float = Field(ge=0, le=60)
    warm_up_s: float = Field(gt=0, le=600)
    prompt_tokens: int | None = Field(default=None, ge=4, le=4096, description="text models: about so many")
    max_tokens: int | None = Field(default=None, ge=2, le=4096, description="text models: exactly so many")


class Speed(Document):
    """`clients` closed loops at once, on one variant at a time. A model has at most one test, since a record names its
    variant and slice but not its test."""

    clients: int = Field(ge=1, le=1000)
    tests: tuple[SpeedTest, ...] = Field(min_length=1)

    @field_validator("tests")
    @classmethod
    def check_models(cls, tests: tuple[SpeedTest, ...]) -> tuple[SpeedTest, ...]:
        models = [test.model for test in tests]
        if twice := next((model for model in models if models.count(model) > 1), None):
            raise ValueError(f"{twice} has two speed tests: put the second one into a campaign of its own")
        return tests


class Campaign(Document):
    """The whole file. `timeout_s` limits a request and `limit_s` the campaign. `seed` decides arrivals and clients.
    `tasks` are of one's own, in place or as the path of a file, as in a stack file."""

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    seed: int = 0
    timeout_s: float = Field(default=60, gt=0, le=3600)
    limit_s: float = Field(gt=0, le=86_400)
    mixed: Mixed | None = None
    accuracy: Accuracy | None = None
    speed: Speed | None = None
    tasks: Annotated[dict[str, TaskFile], AfterValidator(check_names)] = Field(
        default={}, exclude_if=lambda own: not own
    )

    @model_validator(mode="after")
    def check_parts(self) -> Self:
        if self.mixed is None and self.accuracy is None and self.speed is None:
            raise ValueError("a campaign needs at least one of the parts mixed, accuracy, speed")
        return self


def read_campaign(path: Path) -> Campaign:
    """Read and check a campaign file. Raises StackError, which names the first wrong field and a correction."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StackError(f"there is no campaign file {path}", mend="try loadtest/campaigns/demo.yaml") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise StackError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    return parse_campaign(with_task_files(document))


def parse_campaign(document: Any) -> Campaign:
    """Check a parsed document. Raises StackError."""
    if not isinstance(document, dict):
        raise StackError("a campaign file is a mapping of keys to values", mend="begin with `schema: 1`")
    try:
        return Campaign.model_validate(document)
    except ValidationError as error:
        fault = explain(error)
        if fault.is_unknown_key:
            raise StackError("unknown key", field=fault.field, mend=_nearest(error.errors()[0]["loc"])) from None
        shown = "" if fault.type in ("missing", "value_error") else f" (found {fault.input!r:.60})"
        raise StackError(fault.message + shown, field=fault.field) from None


def _nearest(loc: tuple[int | str, ...]) -> str:
    """`did you mean ...?`, or the list of known keys if none is similar."""
    section: Any = Campaign
    for part in loc[:-1]:
        if isinstance(part, str):
            section = section.model_fields[part].annotation
            while arguments := get_args(section):  # `Mixed | None`, `tuple[Arrivals, ...]`
                section = arguments[0]
    known = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
