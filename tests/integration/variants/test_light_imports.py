"""What the server and the load generator import of this package must start fast: none of the heavy libraries."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration
LIGHT = (
    "build.builder", "artifacts.card", "artifacts.catalog", "errors", "evaluation.evaluate", "evidence.intervals",
    "home", "machine", "artifacts.manifest", "methods.registry", "vision.preprocess", "progress", "recipes.recipe",
    "metrics.scoring", "recipes.source", "artifacts.store", "tasks",
)  # fmt: skip
HEAVY = ("torch", "transformers", "nncf", "openvino", "llmcompressor", "bitsandbytes", "datasets", "huggingface_hub")


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, variants.{module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
