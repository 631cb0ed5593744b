"""The images and the compose file name only what is there, and keep everything on loopback."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.docker.start import read_or_make, write
from serve.config.loader import load
from tests.support.processes import ROOT
from variants.errors import StackError

DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
GPU: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.gpu.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("document", [COMPOSE, GPU], ids=["compose", "gpu"])
def test_a_compose_file_is_of_composes_schema(document: dict[str, Any]) -> None:
    """The schema is that of docker-compose 1.29.2, which knows neither `name` nor a target by variable."""
    schema = json.loads((ROOT / "tests" / "support" / "compose-spec.json").read_bytes())
    jsonschema.validate({key: value for key, value in document.items() if key != "name"}, schema)


def test_a_gpu_is_reserved_for_the_server_that_uses_it() -> None:
    (device,) = GPU["services"]["server"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert set(GPU["services"]) <= set(SERVICES)
    text = (ROOT / "deploy" / "compose.gpu.yaml").read_text()
    (target,) = re.findall(r"TARGET=(\w+)", text)
    assert re.search(rf"^FROM \S+ AS {target}$", DOCKERFILE, re.MULTILINE)
    (stack,) = re.findall(r"STACK=(\S+)", text)
    assert (ROOT / "deploy" / stack).exists()


def test_what_is_mounted_is_there() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service["volumes"]]
    files = [re.sub(r"^\$\{\w+:-(.+?)\}", r"\1", mount).split(":")[0] for mount in mounts]
    ours = [file for file in files if file.startswith(".")]
    assert len(ours) > 5
    assert [file for file in ours if not (ROOT / "deploy" / file).exists()] == []
    assert {file for file in files if not file.startswith(".")} == set(COMPOSE["volumes"])


def test_everything_listens_on_loopback() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    assert {service["network_mode"] for service in SERVICES.values()} == {"host"}
    assert "0.0.0.0" not in text  # noqa: S104
    for name in ("prometheus", "alertmanager"):
        assert any("--web.listen-address=127.0.0.1:" in word for word in SERVICES[name]["command"])
    assert SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    collector = yaml.safe_load((ROOT / "deploy" / "docker" / "otel-collector.yaml").read_text())
    endpoint = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert SERVICES["server"]["environment"]["UNDERSTUDY_TRACES"] == f"http://{endpoint}"
    assert endpoint.startswith("127.0.0.1:")


def test_the_image_copies_what_is_there_and_runs_without_root() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert [name for line in copied for name in line.split() if not (ROOT / name).exists()] == []
    users = re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)
    assert users[-1] == "10001"
    assert "/opt/understudy/deploy/docker/start.py" in DOCKERFILE
    for base in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE):
        assert ":" in base or re.search(rf"^FROM \S+ AS {base}$", DOCKERFILE, re.MULTILINE), f"{base} has no tag"


def test_images_have_tags() -> None:
    images = [service["image"] for service in SERVICES.values()]
    assert all(re.fullmatch(r"[\w/.-]+:(v?\d+\.\d+\.\d+|\$\{TARGET:-cpu\})", image) for image in images), images


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    key = read_or_make(tmp_path / "home" / "admin.key")
    assert len(key) > 30
    assert read_or_make(tmp_path / "home" / "admin.key") == key
    assert (tmp_path / "home" / "admin.key").stat().st_mode & 0o077 == 0


def test_what_is_served_is_a_stack_file_with_the_key(tmp_path: Path) -> None:
    stack = load(ROOT / "deploy" / "stacks" / "demo.yaml")
    document = stack.model_dump(mode="json", by_alias=True, exclude_none=True)
    document["server"]["keys"] = {"admin": {"sha256": "0" * 64, "rights": ["admin"]}}
    assert load(write(tmp_path / "stack.yaml", document)).server.keys
    with pytest.raises(StackError):
        write(tmp_path / "stack.yaml", {"schema": 1})
