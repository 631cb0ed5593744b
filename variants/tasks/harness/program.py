"""The child process that imports `lm_eval`: it describes one task, or runs it against an engine.

    python -m variants.tasks.harness.program < request.json

The request names the task and the file for the answer. The answer is what `variants.tasks.harness.definition` and
`variants.tasks.harness.samples` read; or `refused`, a message and its mend, where the task cannot be used.

The metric of a task is the first of its own `metric_list` that the harness averages over the samples, under the task's
first filter. The harness gives this metric for each sample.
"""

import contextlib
import difflib
import hashlib
import json
import random
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

DEFAULT_SEED = 0  # the harness' own defaults
OTHER_SEED = 1234
NAMED = 10


class Refused(Exception):
    """A task that cannot be used; `mend` says what to do."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


class Chosen(NamedTuple):
    """The metric of a task, and the filter that its answers pass first."""

    metric: str
    filter: str


def answer(request: dict[str, Any]) -> dict[str, Any]:
    seed()
    try:
        manager, name = find(request["task"])
        task = load(manager, name, request["task"])
        chosen = choose(task, request["task"])
        if (asked := request.get("run")) is None:
            return described(task, chosen)
        return ran(task, chosen, **asked)
    except Refused as error:
        return {"refused": {"message": str(error), "mend": error.mend}}


def seed() -> None:
    """As the harness' own command does before it loads tasks: some shuffle their rows."""
    import numpy as np
    import torch

    random.seed(DEFAULT_SEED)
    np.random.seed(OTHER_SEED)
    torch.manual_seed(OTHER_SEED)


def find(spec: str) -> tuple[Any, str]:
    """The harness' task manager and the name that it knows the task `spec` by. Raises Refused."""
    from lm_eval.tasks import TaskManager

    if not spec.startswith((".", "/", "~")):
        manager = TaskManager()
        if spec not in manager.all_tasks:
            near = difflib.get_close_matches(spec, manager.all_subtasks, n=3)
            mend = f"did you mean {' or '.join(near)}?" if near else "`lm_eval ls tasks` lists them"
            raise Refused(f"lm_eval has no task {spec!r}", f"{mend}; a folder of your own begins with ./ or /")
        if spec in manager.all_groups or spec in manager.all_tags:
            raise Refused(
                f"{spec} is a group of tasks of lm_eval", "name single tasks: `lm_eval ls subtasks` lists them"
            )
        return manager, spec
    path = Path(spec).expanduser()
    if path.is_file():
        return TaskManager(include_defaults=False), str(path)
    if not path.is_dir():
        raise Refused(f"{spec}: no such file or folder", "name a folder with a task's YAML file, or that file")
    manager = TaskManager(include_path=path, include_defaults=False)
    names = manager.all_subtasks
    if not names:
        raise Refused(f"no YAML file in {spec} defines a task of lm_eval", why_none(path))
    if len(names) > 1:
        files = [f"lm_eval:{manager.task_index[each].yaml_path}" for each in names[:NAMED]]
        raise Refused(f"{spec} has {len(names)} tasks: {', '.join(names[:NAMED])}", f"name the file of one: {files[0]}")
    return manager, names[0]


def why_none(folder: Path) -> str:
    """The mend for a folder without a task."""
    from lm_eval.tasks._yaml_loader import load_yaml

    for path in sorted(folder.glob("**/*.yaml")):
        try:
            load_yaml(path, resolve_func=False)
        except Exception as error:  # of the YAML reader, or of an `include`
            return f"correct {path}: {one_line(error)}"
    return "write a file that ends in .yaml and has `task: NAME`"


def load(manager: Any, name: str, spec: str) -> Any:
    """The harness' task with its data. Raises Refused."""
    try:
        loaded = manager.load(name)
    except Exception as error:  # of the YAML reader, of the data set's download, of the task's own functions
        mend = "correct its definition, or check the connection if its data set is fetched"
        raise Refused(f"lm_eval cannot load {spec}: {one_line(error)}", mend) from error
    if loaded["groups"] or len(loaded["tasks"]) != 1:
        raise Refused(f"{spec} is a group of tasks of lm_eval", "name the files of single tasks")
    (task,) = loaded["tasks"].values()
    if getattr(task, "UNSAFE_CODE", False):
        raise Refused(f"{spec} runs code that the model writes", "choose another task")
    if getattr(task, "MULTIMODAL", False):
        raise Refused(f"{spec} asks about images or sound", "choose a task of text alone")
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=OTHER_SEED)
    return task


def choose(task: Any, spec: str) -> Chosen:
    """The task's metric. Raises Refused where the harness averages none of them over samples."""
    from lm_eval.api.metrics import mean

    ways = task.aggregation()
    metric = next((name for name, way in ways.items() if way is mean), None)
    if metric is None or metric == "bypass":
        message = f"{spec} has no metric of single samples: its metrics are {', '.join(ways) or 'none'}"
        raise Refused(message, "use a task whose metric_list has one with `aggregation: mean`, such as acc")
    return Chosen(metric, task._filters[0].name if getattr(task, "_filters", None) else "none")


def described(task: Any, chosen: Chosen) -> dict[str, Any]:
    """What `Definition` has."""
    try:
        task.build_all_requests(rank=0, world_size=1)
        first: dict[int, Any] = {}
        for instance in task.instances:
            first.setdefault(instance.doc_id, instance)
        samples = [sample_of(task, each) for each in first.values()]
    except Exception as error:  # of a template or a function of the task
        raise Refused(f"lm_eval cannot ask {task.task_name}: {one_line(error)}", "correct its definition") from error
    if not samples:
        raise Refused(f"{task.task_name} has no samples", "give its test or validation split some rows")
    definition = json.dumps(task.dump_config(), sort_keys=True, default=str)
    return {
        "name": task.task_name,
        "harness": version("lm_eval"),
        "version": str(task.VERSION),
        "sha256": hashlib.sha256(definition.encode()).hexdigest(),
        "metric": chosen.metric,
        "filter": chosen.filter,
        "better": "higher" if task.higher_is_better().get(chosen.metric, True) else "lower",
        "samples": samples,
    }


def sample_of(task: Any, instance: Any) -> dict[str, Any]:
    prompt, target = str(instance.args[0]), str(task.doc_to_target(instance.doc))
    whole = json.dumps([instance.doc, prompt, target], sort_keys=True, default=str)
    digest = hashlib.sha256(whole.encode()).hexdigest()
    return {"id": str(instance.doc_id), "prompt": prompt, "target": target, "sha256": digest}


def ran(task: Any, chosen: Chosen, model: dict[str, Any], count: int) -> dict[str, Any]:
    """The samples of a run on the first `count`, and the harness' own figure. `model` are the arguments of its model
    type local-completions.

    `simple_evaluate` would do the same and ask pip for every installed package, which takes many seconds.
    """
    import lm_eval
    from lm_eval.api.registry import get_model

    engine = get_model("local-completions").create_from_arg_obj(model, {"batch_size": 1})
    tasks = {"tasks": {task.task_name: task}}
    results = lm_eval.evaluate(lm=engine, task_dict=tasks, limit=count, bootstrap_iters=0, log_samples=True)
    samples = [each for each in results["samples"][task.task_name] if each["filter"] == chosen.filter]
    return {
        "figure": float(results["results"][task.task_name][f"{chosen.metric},{chosen.filter}"]),
        "samples": [
            {
                "id": str(each["doc_id"]),
                "target": str(each["target"]),
                "answer": answer_of(task, chosen, each),
                "value": float(each[chosen.metric]),
            }
            for each in sorted(samples, key=lambda each: int(each["doc_id"]))
        ],
    }


def answer_of(task: Any, chosen: Chosen, sample: dict[str, Any]) -> str:
    """What the model answered: the text after the filter, or the position of the likeliest choice. Empty where the
    metric does not judge one answer, such as `acc_norm`, which divides by the lengths of the choices."""
    given = sample["filtered_resps"]
    if task.OUTPUT_TYPE == "generate_until":
        return str(given[0])
    if task.OUTPUT_TYPE == "multiple_choice" and chosen.metric == "acc":
        likelihoods = [float(each[0]) for each in given]
        return str(likelihoods.index(max(likelihoods)))
    return ""


def one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def main() -> None:
    request = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        answered = answer(request)
    Path(request["out"]).write_text(json.dumps(answered))


if __name__ == "__main__":
    main()
