"""Cards in a real MLflow, in an environment of its own: it is no dependency of the project."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support.long import long_only

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[4]
LOG = """
import json, sys
from pathlib import Path
from mlflow import MlflowClient
from serve.cli.mlflow_runs import MlflowRuns
from tests.support.scripted import make_artifact
from tests.unit.serve.study.test_model_card import card
from variants.artifacts.catalog import Catalog
from variants.errors import InputError
from variants.home import home

uri = sys.argv[1]
artifact = make_artifact(home(), "echo", "int8", "text-generation")
Catalog(home()).record(artifact.manifest)
measured, runs = card(artifact.manifest.digest), MlflowRuns(uri)
for _ in range(2):
    runs.log(("echo", "int8"), measured)
try:
    MlflowRuns("nonsense://there")
except InputError as error:
    refused = str(error)
client = MlflowClient(tracking_uri=uri)
logged = client.search_runs([client.get_experiment_by_name("echo").experiment_id])
files = {each.path: Path(client.download_artifacts(logged[0].info.run_id, each.path)).read_text()
         for each in client.list_artifacts(logged[0].info.run_id)}
print(json.dumps({"runs": len(logged), "name": logged[0].info.run_name, "status": logged[0].info.status,
                  "refused": refused,
                  "metrics": logged[0].data.metrics, "params": logged[0].data.params, "files": files,
                  "card": json.loads(measured.to_json())}))
"""


@long_only
def test_a_card_is_one_run_with_its_figures_and_files(tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", with_pip=False)
    packages = next((tmp_path / "environment" / "lib").glob("python*")) / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(packages), "mlflow-skinny"]
    subprocess.run(pip, check=True)
    (packages / "project.pth").write_text(f"{ROOT}\n{sysconfig.get_paths()['purelib']}\n")
    # Without a server or a database, MLflow writes files only where it is asked to.
    environment = {"UNDERSTUDY_HOME": str(tmp_path / "home"), "MLFLOW_ALLOW_FILE_STORE": "true"}
    done = subprocess.run(
        [tmp_path / "environment" / "bin" / "python", "-c", LOG, (tmp_path / "runs").as_uri()],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    logged = json.loads(done.stdout.splitlines()[-1])
    assert (logged["runs"], logged["name"], logged["status"]) == (1, "echo@int8", "FINISHED")
    assert logged["refused"].startswith("--mlflow: MLflow does not take nonsense://there: ")
    assert logged["metrics"]["r8.accuracy.low"] == 0.9
    assert (logged["params"]["recipe.kind"], logged["params"]["variant"]) == ("baseline", "int8")
    assert json.loads(logged["files"]["card.json"]) == logged["card"]
    assert logged["files"]["README.md"].startswith("---\n")
