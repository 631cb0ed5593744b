"""`understudy serve` and `apply`: a server without keys is open to other machines only where that is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve.cli.apply import apply_stack
from serve.config.loader import load
from tests.support.scripted import make_stack
from tests.unit.serve.cli.test_main import understudy


def stack_file(folder: Path, **server: Any) -> Path:
    document = make_stack().model_dump(mode="json", by_alias=True, exclude_none=True)
    document["server"] |= server
    path = folder / "stack.yaml"
    path.write_text(json.dumps(document))
    return path


def test_an_open_server_beyond_loopback_is_not_started(tmp_path: Path) -> None:
    path = str(stack_file(tmp_path, host="0.0.0.0"))  # noqa: S104
    refused = understudy("serve", path, UNDERSTUDY_HOME=str(tmp_path))
    assert refused.returncode == 2
    assert refused.stderr.startswith("understudy: server.keys: ")
    assert "--insecure-open" in refused.stderr
    assert refused.stderr.count("\n") == 1
    said = understudy("serve", path, "--insecure-open", UNDERSTUDY_HOME=str(tmp_path))
    assert "server.keys" not in said.stderr, "it is refused for another reason: its weights do not exist"
    assert said.returncode == 2


@pytest.mark.parametrize("keys", [None, {}])
def test_apply_says_what_the_file_says_of_keys(
    keys: dict[str, Any] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    def ask(target: str, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        sent.append(body)
        return {}

    monkeypatch.setattr("serve.cli.apply.build_stack", lambda stack: {})
    monkeypatch.setattr("serve.cli.apply.ask", ask)
    stack = load(stack_file(tmp_path, **({} if keys is None else {"keys": keys})))
    apply_stack(stack, "http://127.0.0.1:9", dry_run=True, force=False, insecure_open=keys is not None)
    assert sent[0]["stack"]["server"].get("keys") == keys
    assert sent[0]["insecure_open"] == (keys is not None)
