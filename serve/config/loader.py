"""Reads a stack file: YAML to a checked `Stack`, with errors that name the field and the nearest known key."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from serve.config.stack import Stack
from variants.document import explain
from variants.errors import StackError, UnknownName
from variants.tasks.task_file import with_task_files


class Loader(yaml.SafeLoader):
    """Refuses a key that is given twice. YAML's own loader would keep the last one without an error."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def load(path: Path) -> Stack:
    """Read and check a stack file. Raises StackError naming the first wrong field."""
    try:
        document = yaml.load(path.read_text(), Loader)  # noqa: S506  # a SafeLoader
    except FileNotFoundError:
        raise StackError(
            f"there is no file {path}", mend="give the path of a stack file, e.g. deploy/stacks/demo.yaml"
        ) from None
    except OSError as error:
        raise StackError(f"{path} cannot be read: {error.strerror}", mend="give the path of a stack file") from None
    except (yaml.YAMLError, ValueError) as error:
        raise StackError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    return parse(with_task_files(document))


def with_port(stack: Stack, port: int | None) -> Stack:
    """The same stack on another port, if one is given."""
    if port is None:
        return stack
    return stack.model_copy(update={"server": stack.server.model_copy(update={"port": port})})


def parse(document: Any) -> Stack:
    """Check a parsed document. Raises StackError naming the first wrong field."""
    if not isinstance(document, dict):
        raise StackError("a stack file is a mapping", mend="start it with `schema: 1`")
    try:
        return Stack.model_validate(document)
    except ValidationError as error:
        raise refusal(error, Stack) from None


def refusal(error: ValidationError, root: type[BaseModel]) -> StackError:
    """The first of pydantic's findings, with the nearest known key for an unknown one."""
    fault = explain(error)
    if fault.is_unknown_key:
        unknown = str(fault.field).rpartition(".")[2]
        nearest = difflib.get_close_matches(unknown, sorted(known_keys(root)), n=1)
        mend = f"did you mean {nearest[0]!r}?" if nearest else "remove it"
        return StackError(f"unknown key {unknown!r}", field=fault.field, mend=mend)
    # The message does not repeat an API key, which may have been given without its hash.
    is_secret = str(fault.field).startswith("server.keys")
    shown = "" if is_secret else f" (found {fault.input!r:.80})"
    return StackError(f"{fault.message}{shown}", field=fault.field)


def known_keys(root: type[BaseModel]) -> set[str]:
    """Every key of any part of the document."""
    schema = root.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return {key for part in parts for key in part.get("properties", {})}


def only(stack: Stack, model: str, *variants: str) -> Stack:
    """The stack with one model, and of that model only the named variants, or all if none is named.

    Raises UnknownName. Raises StackError if the result is not valid, for example for a variant without its parent."""
    if model not in stack.models:
        raise UnknownName(f"there is no model {model!r} in the stack", mend=f"known are {', '.join(stack.models)}")
    known = stack.models[model].variants
    if unknown := [name for name in variants if name not in known]:
        raise UnknownName(f"{model} has no variant {unknown[0]!r}", mend=f"known are {', '.join(known)}")
    document = stack.as_document()
    kept = document["models"][model]
    kept["variants"] = {name: each for name, each in kept["variants"].items() if not variants or name in variants}
    return parse(document | {"models": {model: kept}})
