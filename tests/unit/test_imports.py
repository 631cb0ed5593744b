"""The direction of imports, read from the source: see docs/architecture.md.

Each rule is a function of (file, imported module) pairs that gives the pairs that break it. The project has none; for
each rule, planted imports of the forbidden kind show that it would find them.
"""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("serve", "variants", "loadtest", "deploy")
HEAVY = ("torch", "transformers", "nncf", "openvino", "vllm", "ray", "llmcompressor", "peft", "bitsandbytes")

SERVE = (
    "cli",
    "app",
    "console",
    "api",
    "client",
    "shadow",
    "dataplane",
    "control",
    "cluster",
    "engines",
    "config",
    "protocols",
)
"""Each may import what stands after it."""
BESIDE = {"study": {"evaluation", "config"}, "evaluation": {"engines", "config", "protocols"}, "init": {"config"}}
LEAVES = {"errors", "logs", "metrics", "ports", "traces"}
VARIANTS = ("build", "methods evaluation", "artifacts tasks", "metrics", "evidence recipes", "vision")
"""Each row may import the rows after it, and the modules at the root of `variants`."""
LOADTEST_MAY = {
    f"variants.{name}" for name in ("tasks", "metrics", "evidence", "vision.boxes", "reports", "document", "errors")
}
BACKENDS = {"vllm", "torch", "openvino", "scripted"}
RAY_IN = ("serve/app.py", "serve/cluster/", "serve/control/client.py")

Import = tuple[str, str]
"""A file, by its path below the project, and a module that it imports."""
Rule = Callable[[Iterable[Import]], list[Import]]


def imports() -> set[Import]:
    """Every import in the project's code, lazy ones too. `from variants import tasks` is of `variants.tasks`."""
    pairs = set()
    for package in OURS:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                for name in names_in(node):
                    pairs.add((str(path.relative_to(ROOT)), name))
    return pairs


def names_in(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom) or node.module is None:
        return []
    names = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name if file_of(name) else node.module for name in names]


def file_of(module: str) -> str | None:
    """The file of a module of ours."""
    path = module.replace(".", "/")
    return next((name for name in (f"{path}.py", f"{path}/__init__.py") if (ROOT / name).is_file()), None)


def part(name: str) -> str:
    """`serve/dataplane/relay.py` and `serve.dataplane.relay` are of `dataplane`, `serve/app.py` is of `app`."""
    pieces = name.removesuffix(".py").replace("/", ".").split(".")
    return pieces[1] if len(pieces) > 1 else ""


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def variants_imports_only_variants(pairs: Iterable[Import]) -> list[Import]:
    return [
        (path, module)
        for path, module in pairs
        if path.startswith("variants/") and within(module, "serve", "loadtest", "deploy")
    ]


def serve_imports_neither_load_nor_deploy(pairs: Iterable[Import]) -> list[Import]:
    return [(path, module) for path, module in pairs if path.startswith("serve/") and within(module, "loadtest")]


def nobody_imports_deploy(pairs: Iterable[Import]) -> list[Import]:
    return [(path, module) for path, module in pairs if not path.startswith("deploy/") and within(module, "deploy")]


def load_knows_the_server_by_http(pairs: Iterable[Import]) -> list[Import]:
    return [
        (path, module)
        for path, module in pairs
        if path.startswith("loadtest/") and not path.startswith("loadtest/benchmarks/")
        if within(module, "serve") or (within(module, "variants") and not within(module, *LOADTEST_MAY))
    ]


def nothing_imports_benchmarks(pairs: Iterable[Import]) -> list[Import]:
    return [
        (path, module)
        for path, module in pairs
        if within(module, "loadtest.benchmarks") and not path.startswith("loadtest/benchmarks/")
    ]


def serve_imports_downwards(pairs: Iterable[Import]) -> list[Import]:
    broken = []
    for path, module in pairs:
        if not path.startswith("serve/") or not within(module, "serve"):
            continue
        ours, theirs = part(path), part(module)
        if theirs == ours or ours == "__init__":
            continue
        if ours in LEAVES or theirs in LEAVES:
            allowed = ours not in LEAVES
        elif ours in BESIDE:
            allowed = theirs in BESIDE[ours]
        elif theirs in BESIDE:
            allowed = ours == "cli"
        else:
            allowed = SERVE.index(ours) < SERVE.index(theirs)
        if not allowed:
            broken.append((path, module))
    return broken


def only_the_contract_joins_the_planes(pairs: Iterable[Import]) -> list[Import]:
    """The request path knows of the control plane what both have agreed on, and nothing of Ray's deployments."""
    return [
        (path, module)
        for path, module in pairs
        if path.startswith(("serve/console/", "serve/api/", "serve/shadow/", "serve/dataplane/"))
        if within(module, "serve.cluster")
        or (within(module, "serve.control") and not within(module, "serve.control.contract"))
    ]


def only_commands_measure(pairs: Iterable[Import]) -> list[Import]:
    return [
        (path, module)
        for path, module in pairs
        if within(module, "serve.study", "serve.evaluation")
        and not path.startswith(
            ("serve/__init__.py", "serve/cli/", "serve/study/", "serve/evaluation/", "loadtest/benchmarks/", "deploy/")
        )
    ]


def the_router_stands_alone(pairs: Iterable[Import]) -> list[Import]:
    return [(path, module) for path, module in pairs if path == "serve/dataplane/router.py" and within(module, "serve")]


def control_speaks_no_http(pairs: Iterable[Import]) -> list[Import]:
    return [
        (path, module)
        for path, module in pairs
        if path.startswith(("serve/control/", "serve/config/")) and within(module, "aiohttp", "starlette")
    ]


def ray_stays_in_its_places(pairs: Iterable[Import]) -> list[Import]:
    return [(path, module) for path, module in pairs if within(module, "ray") and not path.startswith(RAY_IN)]


def engines_share_only_the_contract(pairs: Iterable[Import]) -> list[Import]:
    broken = []
    for path, module in pairs:
        if not within(module, "serve.engines"):
            continue
        theirs = [*module.split("."), ""][2]
        if not path.startswith("serve/engines/"):
            wrong = theirs in BACKENDS and not path.startswith("loadtest/benchmarks/")
        else:
            ours = path.removeprefix("serve/engines/").removesuffix(".py").split("/")[0]
            wrong = (
                ours == "base"
                or (ours == "http" and theirs not in ("http", "base"))
                or (ours in BACKENDS and theirs in BACKENDS - {ours})
            )
        if wrong:
            broken.append((path, module))
    return broken


def method_families_stand_alone(pairs: Iterable[Import]) -> list[Import]:
    broken = []
    for path, module in pairs:
        if not path.startswith("variants/methods/") or not within(module, "variants.methods"):
            continue
        ours, theirs = path.split("/")[2:-1], module.split(".")[2:3]
        if ours and theirs != ours and (ROOT / "variants/methods" / "".join(theirs)).is_dir():
            broken.append((path, module))
    return broken


def variants_imports_downwards(pairs: Iterable[Import]) -> list[Import]:
    rows = {name: row for row, names in enumerate(VARIANTS) for name in names.split()}
    broken = []
    for path, module in pairs:
        if not path.startswith("variants/") or not within(module, "variants"):
            continue
        ours, theirs = part(path), part(module)
        if ours == theirs or ours == "__init__":
            continue
        if ours == "reports" or rows.get(ours, len(rows)) >= rows.get(theirs, len(rows) + 1):
            broken.append((path, module))
    return broken


RULES: dict[Rule, list[Import]] = {
    variants_imports_only_variants: [("variants/home.py", "serve.ports"), ("variants/home.py", "loadtest.progress")],
    serve_imports_neither_load_nor_deploy: [("serve/cli/main.py", "loadtest.cli")],
    nobody_imports_deploy: [("serve/app.py", "deploy.demo"), ("loadtest/benchmarks/gate/__main__.py", "deploy.demo")],
    load_knows_the_server_by_http: [
        ("loadtest/target.py", "serve.errors"),
        ("loadtest/target.py", "variants.artifacts.card"),
    ],
    nothing_imports_benchmarks: [("loadtest/target.py", "loadtest.benchmarks.gate.simulation")],
    serve_imports_downwards: [
        ("serve/dataplane/relay.py", "serve.api.http"),
        ("serve/config/stack.py", "serve.engines.launch"),
        ("serve/protocols/open_inference.py", "serve.config.stack"),
        ("serve/evaluation/evaluate.py", "serve.dataplane.relay"),
        ("serve/api/http.py", "serve.evaluation.evaluate"),
        ("serve/api/http.py", "serve.console.site"),
        ("serve/errors.py", "serve.ports"),
    ],
    only_the_contract_joins_the_planes: [
        ("serve/api/http.py", "serve.control.controller"),
        ("serve/dataplane/relay.py", "serve.cluster.deployer"),
    ],
    only_commands_measure: [("serve/app.py", "serve.evaluation.evaluate"), ("serve/api/http.py", "serve.study.page")],
    the_router_stands_alone: [("serve/dataplane/router.py", "serve.errors")],
    control_speaks_no_http: [("serve/control/state.py", "aiohttp"), ("serve/config/stack.py", "starlette.types")],
    ray_stays_in_its_places: [("serve/api/http.py", "ray.serve"), ("variants/home.py", "ray")],
    engines_share_only_the_contract: [
        ("serve/engines/base.py", "serve.engines.launch"),
        ("serve/engines/http/text.py", "serve.engines.process"),
        ("serve/engines/torch/image.py", "serve.engines.vllm.errors"),
        ("serve/api/openai.py", "serve.engines.torch.image"),
    ],
    method_families_stand_alone: [
        ("variants/methods/detection/quantize.py", "variants.methods.embedding.quantize"),
    ],
    variants_imports_downwards: [
        ("variants/tasks/base.py", "variants.build.builder"),
        ("variants/evidence/gate.py", "variants.recipes.recipe"),
        ("variants/home.py", "variants.vision.boxes"),
        ("variants/reports/svg.py", "variants.errors"),
    ],
}


@pytest.fixture(scope="module")
def every_import() -> set[Import]:
    pairs = imports()
    assert len(pairs) > 1000
    return pairs


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_import_breaks_the_rule(rule: Rule, every_import: set[Import]) -> None:
    assert sorted(rule(every_import)) == []


@pytest.mark.parametrize(
    ("rule", "planted"),
    [(rule, pair) for rule, pairs in RULES.items() for pair in pairs],
    ids=lambda given: given.__name__ if callable(given) else f"{given[0]}:{given[1]}",
)
def test_a_planted_import_breaks_the_rule(rule: Rule, planted: Import) -> None:
    assert rule([planted]) == [planted]


def graph(pairs: Iterable[Import]) -> TopologicalSorter[str]:
    files: dict[str, set[str]] = {}
    for path, module in pairs:
        target = file_of(module)
        if target and target != path:
            files.setdefault(path, set()).add(target)
    return TopologicalSorter(files)


def test_no_two_files_import_each_other(every_import: set[Import]) -> None:
    graph(every_import).prepare()


def test_a_planted_cycle_is_seen(every_import: set[Import]) -> None:
    with pytest.raises(CycleError):
        graph(every_import | {("variants/errors.py", "variants.build.builder")}).prepare()


@pytest.mark.parametrize("module", ["serve.cli.main", "serve.config.stack", "serve.app", "variants.build.builder"])
def test_light_parts_import_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_no_folder_module_or_function_is_too_long() -> None:
    """At most 20 modules a folder, 400 lines a module, 60 lines a function."""
    too_long = []
    for package in OURS:
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
            if len(list(folder.glob("*.py"))) > 20:
                too_long.append(str(folder))
            for path in folder.glob("*.py"):
                text = path.read_text()
                if text.count("\n") > 400:
                    too_long.append(str(path))
                for node in ast.walk(ast.parse(text)):
                    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                        assert node.end_lineno is not None
                        if node.end_lineno - node.lineno >= 60:
                            too_long.append(f"{path}:{node.name}")
    assert too_long == []
