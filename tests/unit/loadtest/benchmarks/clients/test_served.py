"""The stack that clients ask: its gRPC port, its variants and their tokenizers; and the table of what passed."""

from pathlib import Path

from loadtest.benchmarks.clients.__main__ import CLIENTS, ROWS, STACK, read_rows, table, write_rows
from loadtest.benchmarks.clients.client import Row, Served, environment
from loadtest.benchmarks.clients.served import variants_of, with_grpc
from serve.config.loader import load
from variants.artifacts.store import Store


def test_the_stack_gets_a_grpc_port_and_stays_the_same(tmp_path: Path) -> None:
    written = load(with_grpc(STACK, 8123, tmp_path / "out" / "stack.yaml"))
    assert written.server.grpc_port == 8123
    assert written.models == load(STACK).models


def test_an_adapter_takes_the_tokenizer_of_its_model(tmp_path: Path) -> None:
    store, keys = (
        Store(tmp_path),
        {"m@baseline": "a" * 64, "m@int8": "b" * 64, "m@lora": "c" * 64, "d@baseline": "d" * 64},
    )
    for name in ("m@baseline", "m@int8"):
        folder = store.path(keys[name]) / "model"
        folder.mkdir(parents=True)
        (folder / "tokenizer.json").touch()
    models = {
        "m": {"task": "text-generation", "variants": {"lora": {}, "baseline": {}, "int8": {}}},
        "d": {"task": "image-classification", "variants": {"baseline": {}}},
    }
    baseline, int8 = (store.path(keys[name]) / "model" for name in ("m@baseline", "m@int8"))
    assert variants_of({"stack": {"models": models}, "artifacts": keys}, store) == [
        Served("m@lora", "text-generation", baseline),
        Served("m@baseline", "text-generation", baseline),
        Served("m@int8", "text-generation", int8),
        Served("d@baseline", "image-classification", None),
    ]


def test_six_packages_are_run_and_each_speaks_a_task_of_the_demo() -> None:
    tasks = {model.task for model in load(STACK).models.values()}
    assert {client.package for client in CLIENTS} == {
        "openai", "tritonclient", "langchain-openai", "litellm", "lm-eval", "guidellm"
    }  # fmt: skip
    assert len({client.name for client in CLIENTS}) == len(CLIENTS) == 10
    assert [client.name for client in CLIENTS if not client.tasks & tasks] == []


def test_settings_of_the_user_reach_no_client() -> None:
    given = {"OPENAI_API_KEY": "mine", "PYTHONPATH": "/here", "HF_HUB_OFFLINE": "0", "PATH": "/bin"}
    given |= {"HTTPS_PROXY": "http://proxy.test:1", "https_proxy": "http://proxy.test:1"}
    made = environment(given)
    assert not {"OPENAI_API_KEY", "PYTHONPATH"} & set(made)
    assert (made["PATH"], made["HF_HUB_OFFLINE"]) == ("/bin", "1")
    assert "http://proxy.test:1" not in made.values()


def test_the_table_counts_what_passed_and_names_what_failed() -> None:
    def row(client: str, variant: str, passed: bool, detail: str) -> Row:
        return Row(client=client, version="1.0", variant=variant, passed=passed, detail=detail)

    rows = [row("a", "m@x", True, "2 choices"), row("a", "m@y", False, "no text"), row("b", "m@x", True, "3 vectors")]
    lines = table(rows).splitlines()
    assert "| a | 1.0 | 1 of 2 | m@x, m@y | 2 choices |" in lines
    assert "| b | 1.0 | 1 of 1 | m@x | 3 vectors |" in lines
    assert "- a, m@y: no text" in lines
    assert not [line for line in lines if line.startswith("- b")]


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / ROWS
    assert read_rows(path) == []
    rows = [Row(client="openai", version="3", variant="m@x", passed=False, detail="no text")]
    write_rows(path, rows)
    assert read_rows(path) == rows
