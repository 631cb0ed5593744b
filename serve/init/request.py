"""What the user asks `understudy init` for, and the plan that follows from it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from serve.init.choices import Goal, trains
from serve.init.model import ModelFacts, read_model
from serve.init.plan import StackPlan, make_plan, name_of, task_name_of
from serve.init.table import data_of, read_table
from serve.init.task import Columns, TaskDraft, draft, numbered, read
from variants.artifacts.manifest import TaskKind
from variants.document import explain
from variants.errors import InputError
from variants.files import hash_of
from variants.home import home
from variants.machine import describe, gpus
from variants.progress import Progress
from variants.recipes.source import Source, fetch
from variants.tasks.data.yolo import yolo_folders

SOURCES = "the path of a folder or file, or ORG/NAME of the hub"
OPTIONS = {
    "data.images": "--images", "data.labels": "--labels", "data.classes": "--names", "name_pattern": "--file-names",
    "give `columns`": "give --columns", "format: tsv": "--format tsv",
}  # fmt: skip
FAMILIES: tuple[str, ...] = get_args(TaskKind)


@dataclass(frozen=True)
class Request:
    """A model's source, and what the user says beside it. `beside` are fields of the data's definition."""

    source: str
    data: str | None = None
    goal: Goal = "speed"
    family: str | None = None
    name: str | None = None
    licence: str | None = None
    sha256: str | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)


def plan_for(request: Request, progress: Progress) -> StackPlan:
    """Read model and data, and decide. Raises InputError and SourceError that name the flag to give."""
    source, path = fetched(request, progress)
    model = with_family(read_model(path), request.family)
    own = source.hub.repo.rpartition("/")[2] if source.kind == "hub" else model.name
    name = name_of(request.name or own)
    if request.data is not None and model.task == "image-generation":
        raise InputError("no data tells whether a picture is right", field="--data", mend="leave it out")
    task = None if request.data is None else task_of(request, request.data, model, progress)
    fields, gpu = source_fields(source, path, request, model), next(iter(gpus()), None)
    return make_plan(name, fields, model, task, describe(), request.goal, gpu)


def fetched(request: Request, progress: Progress) -> tuple[Source, Path]:
    """The source, and its files on this machine. A path needs no ./ in front."""
    uri = request.source
    if not uri.startswith(("wheel:", "hf:")) and (local := Path(uri).expanduser()).exists():
        uri = str(local.resolve())
    try:
        source = Source(uri=uri, sha256=request.sha256, licence=request.licence or "not stated")
    except ValidationError as error:
        if not re.match(r"\w+:", uri):
            raise InputError(f"{uri}: no such file or folder, and no hub id", field="SOURCE", mend=SOURCES) from None
        raise InputError(explain(error).message, field="SOURCE") from None
    return source, fetch(source, home(), progress)


def with_family(model: ModelFacts, family: str | None) -> ModelFacts:
    if family is None or family == model.task:
        return model
    if family not in FAMILIES:
        raise InputError(f"there is no {family!r}", field="--family", mend=f"one of {', '.join(FAMILIES)}")
    if model.is_encoder and family == "text-classification":
        return replace(model, task="text-classification", why=f"{model.why}; --family asks for a classifier on it")
    raise InputError(f"the model is of {model.task}, not {family}", field="--family", mend="leave it out")


def task_of(request: Request, uri: str, model: ModelFacts, progress: Progress) -> TaskDraft:
    """The task of the data. An encoder with labelled texts becomes a classifier only where `--family` says so."""
    name = uri.rpartition("/")[2].partition("@")[0]
    if not uri.startswith("hf:datasets/"):
        local = Path(uri).expanduser().resolve()
        if not local.exists():
            raise InputError(f"{uri}: no such file or folder", field="--data", mend="name a path that exists")
        uri, name = str(local), local.stem
    fields: dict[str, Any] = {"uri": uri} | {name: given for name, given in request.beside.items() if given}
    if uri.endswith(".json") and "images" in fields:
        fields.setdefault("format", "coco")
    if fields.get("format") == "yolo" and "images" not in fields and Path(uri).is_dir():
        labels, images = yolo_folders(Path(uri))
        uri = fields["uri"] = str(labels)
        fields |= {"images": str(images)} if images != labels else {}
    if str(fields.get("classes", "")).endswith((".yaml", ".yml")):
        fields["classes"] = names_in(Path(fields["classes"]))
    try:
        return read_task(request, fields, uri, name, model, progress)
    except InputError as error:
        raise by_option(error) from None


def read_task(
    request: Request, fields: dict[str, Any], uri: str, name: str, model: ModelFacts, progress: Progress
) -> TaskDraft:
    data = data_of(fields)
    path = fetch(data.source(uri), home(), progress)
    if not uri.startswith("hf:datasets/"):
        fields["sha256"] = hash_of(path)
    columns = request.columns
    is_named = bool(columns.text or columns.label or columns.pair or columns.choices or columns.input)
    table = read_table(data, path, is_named)
    drafted = numbered(draft(task_name_of(name), table, columns, model), model.labels)
    done = read(drafted, fields, table.count, trains(model, drafted), progress)
    if model.task != "object-detection":
        return done
    named = numbered(done, model.labels)
    check_boxes(named, model)
    return named if named is done else read(named, fields, table.count, False, progress)


def check_boxes(task: TaskDraft, model: ModelFacts) -> None:
    """InputError for boxes of classes that the detector does not know: all of its answers would be wrong."""
    known = set(model.labels) or {str(number) for number in range(model.classes)}
    if (model.labels or not task.definition["data"].get("classes")) and (strange := sorted(set(task.labels) - known)):
        shown = ", ".join(sorted(known)[:5])
        message = f"the data's classes {', '.join(strange[:5])} are not among the detector's: {shown}"
        raise InputError(message, field="--names", mend="name the classes as the detector does")


def names_in(path: Path) -> list[str]:
    """The classes in a YAML file that Ultralytics' tools read: `names`, a list or a mapping of positions."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}", field="--names") from None
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names)]
    if not isinstance(names, list) or not names:
        raise InputError(f"{path} has no list `names`", field="--names", mend="a file with one class a line does too")
    return [str(name) for name in names]


def by_option(error: InputError) -> InputError:
    """The error with the options of `init` in place of a definition's fields."""
    message, mend = error.message, error.mend or ""
    for name, option in OPTIONS.items():
        message, mend = message.replace(name, option), mend.replace(name, option)
    return InputError(message, field=error.field, mend=mend or None)


def source_fields(source: Source, path: Path, request: Request, model: ModelFacts) -> Mapping[str, str]:
    """The source as a stack file has it, with the hash of what was read."""
    with_hash = source.sha256 or hash_of(path)
    return {"uri": source.uri, "sha256": with_hash, "licence": request.licence or model.licence}
