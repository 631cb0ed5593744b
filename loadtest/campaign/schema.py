"""The campaign file: how much load, of what, in which order. Typed and frozen; unknown keys are refused.

A campaign has up to three parts, run one after the other:

    mixed     routed by weight, open loop: arrivals are planned, and waited for by nobody
    accuracy  each variant pinned, every labelled example asked once; one variant after the other, as engines that
              compute at once take longer together than in turn where cores are few
    speed     each variant pinned and alone, closed loop, in slices that take turns

It holds no logic of the load itself (`plan.py` expands it, `worker.py` carries it out) and names no
variants: those are whatever the server has when the campaign starts.
"""

import difflib
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from variants.document import Document, explain
from variants.errors import StackError

Ask = Literal["text", "label"]


class Arrivals(Document):
    """One Poisson stream of routed requests, `per_s` of them a second on average.

    `ask: text` streams `max_tokens` tokens after an example of the task; `ask: label` asks for its label.
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
    """Open loop for `seconds`; `clients` virtual clients, each with a name of its own, so each sticks to a
    variant.
    """

    seconds: float = Field(gt=0, le=3600)
    clients: int = Field(ge=1, le=100_000)
    in_flight: int = Field(default=64, ge=1, le=10_000, description="most requests at once; later ones wait, timed")
    arrivals: tuple[Arrivals, ...] = Field(min_length=1)


class AccuracyTest(Document):
    """The first `n` test examples of a task, each once, to every variant of the model."""

    model: str
    task: str
    n: int = Field(ge=2, le=1_000_000)


class Accuracy(Document):
    """`clients` requests at once, to one variant at a time, which has at most `limit_s` for a test."""

    clients: int = Field(ge=1, le=1000)
    limit_s: float = Field(gt=0, le=7200)
    tests: tuple[AccuracyTest, ...] = Field(min_length=1)


class SpeedTest(Document):
    """`slices` slices a variant. Times in seconds: warm-up once a variant, lead-in before each slice's
    window.
    """

    model: str
    task: str
    slices: int = Field(ge=3, le=100)
    slice_s: float = Field(gt=0, le=600)
    lead_in_s: float = Field(ge=0, le=60)
    warm_up_s: float = Field(gt=0, le=600)
    prompt_tokens: int | None = Field(default=None, ge=4, le=4096, description="text models: about so many")
    max_tokens: int | None = Field(default=None, ge=2, le=4096, description="text models: exactly so many")


class Speed(Document):
    """`clients` closed loops at once, on one variant at a time. One test a model: a record says which variant and
    slice it is of, not which test.
    """

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
    """The whole file. `timeout_s` bounds a request, `limit_s` the campaign; `seed` fixes arrivals and
    clients.
    """

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    seed: int = 0
    timeout_s: float = Field(default=60, gt=0, le=3600)
    limit_s: float = Field(gt=0, le=86_400)
    mixed: Mixed | None = None
    accuracy: Accuracy | None = None
    speed: Speed | None = None

    @model_validator(mode="after")
    def check_parts(self) -> Self:
        if self.mixed is None and self.accuracy is None and self.speed is None:
            raise ValueError("a campaign needs at least one of the parts mixed, accuracy, speed")
        return self


def read_campaign(path: Path) -> Campaign:
    """Read and check a campaign file. Raises StackError that names the first wrong field and what would be
    right.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StackError(f"there is no campaign file {path}", mend="try loadtest/campaigns/demo.yaml") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise StackError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    return parse_campaign(document)


def parse_campaign(document: Any) -> Campaign:
    """Check a document that was read already. Raises StackError."""
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
    """`did you mean ...?`, or the list of known keys where nothing is near."""
    section: type[BaseModel] = Campaign
    for part in loc[:-1]:
        if isinstance(part, str):
            section = _model_in(section.model_fields[part].annotation)
    known = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"


def _model_in(annotation: Any) -> type[BaseModel]:
    """The section that a field's annotation (`Mixed | None`, `tuple[Arrivals, ...]`) holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        if inner is not type(None) and inner is not Ellipsis:
            return _model_in(inner)
    raise TypeError(f"no section in {annotation!r}")
