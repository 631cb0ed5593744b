"""The definition of a task of one's own: where its rows are, and how a row becomes an example.

    tasks:
      intents:
        data: {uri: ./intents.csv}
        input: "Message: {{ text }}\\nIntent:"
        label: intent
        scorer: choice

A stack file and a campaign file hold such definitions below `tasks`, in place or as the path of a YAML file.
`variants.tasks.file_task` reads the data.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from jinja2 import TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import AfterValidator, Field, field_validator, model_validator

from variants.document import Document, absent
from variants.errors import StackError
from variants.metrics.answer_scores import SCORES
from variants.metrics.json_schema import check_schema
from variants.metrics.kinds import OTHER_SCORERS, Generated, OtherScorer
from variants.tasks.base import Kind
from variants.tasks.data.definition import BOXES, Column, Data, Shares, SplitColumn, SplitFiles

Template = Annotated[str, Field(min_length=1)]


def check_scorer(name: str) -> str:
    """The same name. Raises ValueError where there is no such scorer, PluginError for a plug-in that cannot be used."""
    if name not in OTHER_SCORERS and name not in SCORES:
        raise ValueError(f"there is no scorer {name!r}: known are {', '.join((*OTHER_SCORERS, *SCORES))}")
    if name in SCORES:
        _ = SCORES[name]
    return name


Scorer = Annotated[OtherScorer | Generated, AfterValidator(check_scorer)]
Sandbox = ImmutableSandboxedEnvironment()


class Message(Document):
    """One message of a chat. `content` is a template as `input` is."""

    role: Literal["system", "user", "assistant"]
    content: Template


class TaskFile(Document):
    """One task. `input` is a Jinja template over a row's columns (sandboxed). `label` is the column of the label;
    `labels` gives its values other names. `choices` are columns with the endings to choose from: `label` is then the
    position of the right one, from 0. `image` is a column of images. `pair` are two columns of text, and `label`
    is then a score of how near they are. `messages` are templates of a chat, in place of `input`.

    `scorer`:

    - "choice": the likeliest label after `input`, or the likeliest of `choices` (text generation).
    - "label": a classifier's first label is the right one.
    - "ranked": the right label is among an image classifier's first five.
    - "passage": how surprising the text is (perplexity); there is no label.
    - "boxes": mean average precision of the boxes that a detector finds; the label is a list of boxes.
    - "schema": the generated answer is JSON that satisfies `schema`; there is no label.
    - "spearman": how well the cosines of pairs follow their scores.
    - "exact" and so on: the answer of at most `max_tokens` tokens that the model generates, up to the first of `stop`
      (`variants.metrics.answer_scores`).
    """

    data: Data = Data()
    input: Template | None = None
    image: Column | None = None
    pair: tuple[Column, Column] | None = Field(default=None, exclude_if=absent)
    messages: Annotated[tuple[Message, ...], Field(min_length=1)] | None = Field(default=None, exclude_if=absent)
    label: Column | None = None
    labels: dict[str, Annotated[str, Field(min_length=1)]] | None = None
    choices: Annotated[tuple[Column, ...], Field(min_length=2)] | None = None
    scorer: Scorer
    schema_: dict[str, Any] | None = Field(default=None, alias="schema", exclude_if=absent)
    max_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    stop: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=16)] = ()
    splits: Shares | SplitColumn | SplitFiles = Shares()

    @field_validator("input")
    @classmethod
    def check_template(cls, template: str | None) -> str | None:
        if template is not None and not columns_of(template):
            raise ValueError("names no column: write one as {{ column }}")
        return template

    @field_validator("messages")
    @classmethod
    def check_messages(cls, messages: tuple[Message, ...] | None) -> tuple[Message, ...] | None:
        if messages is not None:
            names = [name for message in messages for name in columns_of(message.content)]
            if not names:
                raise ValueError("no message names a column: write one as {{ column }}")
            if messages[-1].role != "user":
                raise ValueError("the last message is not the user's, so there is nothing to answer")
        return messages

    @field_validator("schema_")
    @classmethod
    def check_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            check_schema(schema)
        return schema

    @field_validator("splits", mode="before")
    @classmethod
    def choose_splits(cls, given: Any) -> Any:
        """Chosen by what is given, so that an error names the field and not three kinds of splits."""
        if not isinstance(given, dict):
            return given
        if "column" in given:
            return SplitColumn.model_validate(given)
        if any(isinstance(value, str) for value in given.values()):
            return SplitFiles.model_validate(given)
        return Shares.model_validate(given)

    @model_validator(mode="after")
    def check_parts(self) -> Self:
        if self.data.uri is None and not isinstance(self.splits, SplitFiles):
            raise ValueError("data.uri: name the file, the folder or the hub id of the rows")
        if isinstance(self.splits, SplitFiles):
            for _, uri in self.splits.items():
                self.data.source(uri)
            if self.data.labels is not None or self.data.format == "yolo":
                raise ValueError("splits: data.labels and format yolo are for one file or folder: give shares")
        if isinstance(self.splits, SplitColumn) and self.data.format in BOXES:
            raise ValueError(f"splits: {self.data.format} has no column: give shares, or a file for each split")
        self._check_input()
        if (self.scorer == "schema") != (self.schema_ is not None):
            raise ValueError("schema: give it with scorer schema, and with no other")
        if self.label is None and self.scorer not in ("passage", "schema"):
            raise ValueError("label: name its column")
        if self.label is not None and self.scorer == "schema":
            raise ValueError("label: with scorer schema there is none: leave it out")
        if self.label is not None and self.scorer == "passage":
            raise ValueError("label: a passage has none: leave it out")
        if self.scorer not in SCORES and (self.max_tokens is not None or self.stop):
            raise ValueError(f"max_tokens and stop: only with a scorer of generated answers, not {self.scorer}")
        if self.choices is not None and self.scorer != "choice":
            raise ValueError(f"choices: only with scorer choice, not {self.scorer}")
        return self

    def _check_input(self) -> None:
        """Raises ValueError unless there is one kind of input, and the scorer reads it."""
        given = [name for name in ("input", "messages", "image", "pair") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "give either `input`, a template over the row's columns, or `messages`, templates of a chat, or"
                " `image`, a column of images, or `pair`, two columns of text"
            )
        if self.image is not None and self.scorer not in ("label", "ranked", "boxes"):
            raise ValueError(f"scorer: {self.scorer} reads text: use label, ranked or boxes for images")
        if self.image is None and self.scorer in ("ranked", "boxes"):
            raise ValueError(f"scorer: {self.scorer} reads images: use choice or label for text")
        if (self.scorer == "boxes") != (self.data.format in BOXES):
            raise ValueError(f"scorer boxes and a data.format of boxes belong together: one of {', '.join(BOXES)}")
        if self.messages is not None and self.scorer not in SCORES:
            raise ValueError(
                f"messages: scorer {self.scorer} asks for likelihoods of plain text: use a scorer of generated answers,"
                " or write the chat's form into `input`"
            )
        if self.data.images is not None and self.image is None:
            raise ValueError("data.images: only with `image`, the column of their paths")
        if (self.pair is not None) != (self.scorer == "spearman"):
            raise ValueError("pair and scorer spearman belong together: two columns of text, and `label`, their score")
        if self.pair is not None and self.labels is not None:
            raise ValueError("labels: the score of a pair is a number and has no name")

    @property
    def columns(self) -> list[str]:
        """The columns that the templates name."""
        return sorted({name for template in self.templates for name in columns_of(template)})

    @property
    def templates(self) -> list[str]:
        """The template of the input, or those of its messages."""
        return [self.input] if self.input else [message.content for message in self.messages or ()]

    @property
    def schema_text(self) -> str | None:
        """The JSON schema as one line: the label of every example."""
        return None if self.schema_ is None else json.dumps(self.schema_, sort_keys=True, separators=(",", ":"))

    @property
    def kind(self) -> Kind:
        """The kind of its examples."""
        if self.scorer == "choice":
            return "text" if self.choices is None else "choice"
        if self.scorer == "label":
            return "article" if self.image is None else "image"
        if self.scorer == "spearman":
            return "pair"
        return self.scorer


def columns_of(template: str) -> list[str]:
    """The names that a template uses. ValueError for what is no template."""
    try:
        return sorted(meta.find_undeclared_variables(Sandbox.parse(template)))
    except TemplateSyntaxError as error:
        raise ValueError(f"is not a Jinja template: {error.message}, line {error.lineno}") from None


def with_task_files(document: Any) -> Any:
    """A stack or campaign as YAML has it, with the contents of the files that its `tasks` name by path.

    Only who reads such a file from disk calls this: a stack that comes over the network names no files. Raises
    StackError for a file that cannot be read."""
    own = document.get("tasks") if isinstance(document, dict) else None
    if not isinstance(own, dict):
        return document
    read = {name: read_file(name, given) if isinstance(given, str) else given for name, given in own.items()}
    return document | {"tasks": read}


def read_file(name: str, path: str) -> Any:
    try:
        return yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise StackError(f"{path} cannot be read: {error.strerror}", field=f"tasks.{name}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StackError(f"{path} is not YAML: {' '.join(str(error).split())}", field=f"tasks.{name}") from None
