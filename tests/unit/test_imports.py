"""The direction of imports, read from the source: see docs/architecture.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = {"serve", "variants", "loadtest", "deploy"}
HEAVY = ("torch", "transformers", "nncf", "openvino", "vllm", "ray", "llmcompressor", "peft", "bitsandbytes")
LOADTEST_MAY = {"variants.tasks", "variants.scoring", "variants.evidence", "variants.errors", "variants.show"}
LIGHT = (
    "catalog", "manifest", "store", "scoring", "evidence.intervals", "errors", "recipe", "build", "tasks", "machine",
)  # fmt: skip


def imports(package: str) -> set[tuple[str, str]]:
    """(file, imported module) for every import of our own packages below `package`, lazy ones too."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                bare = node.module in OURS  # `from variants import tasks` names a module of it
                names = [f"{node.module}.{alias.name}" for alias in node.names] if bare else [node.module]
            found |= {(str(path.relative_to(ROOT)), name) for name in names if name.partition(".")[0] in OURS}
    return found


def test_variants_knows_neither_server_nor_load() -> None:
    assert imports("variants")
    assert {name.partition(".")[0] for _, name in imports("variants")} == {"variants"}


def test_load_knows_only_tasks_scorers_and_evidence() -> None:
    found = {(path, name) for path, name in imports("loadtest") if not path.startswith("loadtest/peers/")}
    foreign = {(path, name) for path, name in found if name.partition(".")[0] != "loadtest"}
    assert foreign
    assert {
        (path, name)
        for path, name in foreign
        if not any(name == may or name.startswith(may + ".") for may in LOADTEST_MAY)
    } == set()


def test_only_the_command_line_joins_server_and_load() -> None:
    assert {path for path, name in imports("serve") if name.startswith("loadtest")} == {"serve/cli.py"}


def test_the_router_knows_no_server() -> None:
    text = (ROOT / "serve" / "router.py").read_text()
    assert not {name for name in ("ray", "starlette", "aiohttp") if f"import {name}" in text or f"from {name}" in text}


@pytest.mark.parametrize("module", [f"variants.{name}" for name in LIGHT] + ["serve.cli", "serve.stack", "serve.app"])
def test_light_parts_import_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
