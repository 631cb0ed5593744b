"""Low-rank adapters in the torch engine, on a base in NF4: loaded and unloaded while it serves, each for itself."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from serve.engines.torch.adapters import keep_unpacked
from serve.engines.torch.generator import compute_in, computing_dtype
from tests.integration.serve.engines.engine import Engine, running
from tests.integration.serve.engines.tiny_text import write_tiny_text

pytestmark = pytest.mark.integration
PROMPT = "a good film, a"
NAMES = ("tiny@one:0a", "tiny@two:1.b")


class Folders(NamedTuple):
    base: Path
    adapters: dict[str, Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A tiny base in NF4, and two adapters on it whose weights are random."""
    parent, base = write_tiny_text(tmp_path_factory.mktemp("parent")), tmp_path_factory.mktemp("nf4")
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    AutoModelForCausalLM.from_pretrained(
        parent, dtype=torch.bfloat16, quantization_config=config, device_map="cpu"
    ).save_pretrained(base)
    AutoTokenizer.from_pretrained(parent).save_pretrained(base)
    adapters = {}
    for seed, name in enumerate(NAMES):
        torch.manual_seed(seed)
        settings = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        adapters[name] = tmp_path_factory.mktemp("adapter")
        get_peft_model(AutoModelForCausalLM.from_pretrained(base, device_map="cpu"), settings).save_pretrained(
            str(adapters[name])
        )
    return Folders(base, adapters)


@pytest.fixture(scope="module")
def started(folders: Folders) -> Iterator[Engine]:
    with running("torch.text", "--artifact", str(folders.base), "--name", "tiny@nf4", "--adapters", "2") as engine:
        yield engine


@pytest.fixture
def engine(started: Engine) -> Iterator[Engine]:
    """The one engine of this module, without adapters again afterwards."""
    yield started
    for name in NAMES:
        change(started, "unload", name)


def change(engine: Engine, what: str, name: str, folder: Path | None = None) -> tuple[int, str]:
    body = {"lora_name": name} | ({"lora_path": str(folder)} if folder else {})
    answer = httpx.post(f"{engine.url}/v1/{what}_lora_adapter", json=body, timeout=60)
    return answer.status_code, answer.text


def asking(name: str, tokens: int = 6) -> dict[str, Any]:
    return {"model": name, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "logprobs": 3, "ignore_eos": True}


def first(engine: Engine, name: str) -> list[float]:
    """The three greatest log probabilities of the first token."""
    body = {"model": name, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1, "temperature": 0}
    status, answer = engine.post("/v1/chat/completions", body | {"logprobs": True, "top_logprobs": 3})
    assert status == 200, answer
    return [entry["logprob"] for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]]


def theirs(base: Path, adapter: Path | None) -> list[float]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=computing_dtype(), device_map="cpu").eval()
    compute_in(model, model.dtype)
    keep_unpacked(model)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=False).eval()
    ids = AutoTokenizer.from_pretrained(base)(f"<user>{PROMPT}<assistant>", return_tensors="pt").input_ids
    with torch.inference_mode():
        found = model(input_ids=ids).logits[0, -1].float().log_softmax(-1)
    return list(found.topk(3).values.tolist())


def test_each_is_what_peft_computes_and_the_base_stays_what_it_was(engine: Engine, folders: Folders) -> None:
    before = first(engine, "tiny@nf4")
    for name, folder in folders.adapters.items():
        assert change(engine, "load", name, folder) == (200, "loaded")
    found = {name: first(engine, name) for name in NAMES}
    for name, folder in folders.adapters.items():
        assert found[name] == pytest.approx(theirs(folders.base, folder), abs=0.1)
    assert first(engine, "tiny@nf4") == before
    assert before == pytest.approx(theirs(folders.base, None), abs=0.1)
    assert len({tuple(each) for each in (before, *found.values())}) == 3


async def test_asked_together_each_answers_as_alone(engine: Engine, folders: Folders) -> None:
    for name, folder in folders.adapters.items():
        change(engine, "load", name, folder)
    names = ("tiny@nf4", *NAMES)
    async with httpx.AsyncClient(base_url=engine.url, timeout=60) as client:

        async def answer(name: str) -> str:
            found = await client.post("/v1/completions", json=asking(name, 24))
            return str(found.json()["choices"][0]["text"])

        alone = {name: await answer(name) for name in names}
        together = await asyncio.gather(*(answer(name) for name in names * 3))
    assert together == [alone[name] for name in names * 3]
    assert len(set(alone.values())) == 3


async def test_one_that_is_unloaded_while_it_answers_ends_in_an_error_and_no_other(
    engine: Engine, folders: Folders
) -> None:
    for name, folder in folders.adapters.items():
        change(engine, "load", name, folder)
    async with httpx.AsyncClient(base_url=engine.url, timeout=60) as client:
        asked = [asyncio.create_task(client.post("/v1/completions", json=asking(name, 100))) for name in NAMES]
        await asyncio.sleep(0.05)
        gone = await client.post("/v1/unload_lora_adapter", json={"lora_name": NAMES[0]})
        first, second = await asyncio.gather(*asked)
    assert gone.status_code == 200
    assert first.status_code in (200, 500), "it may have been done already"
    assert second.status_code == 200
    status, answer = engine.post("/v1/completions", asking(NAMES[0]))
    assert (status, NAMES[1] in answer["error"]["message"]) == (404, True)
    assert change(engine, "load", NAMES[0], folders.adapters[NAMES[0]]) == (200, "loaded")


def test_what_cannot_be_loaded_is_said(engine: Engine, folders: Folders, tmp_path: Path) -> None:
    one = folders.adapters[NAMES[0]]
    assert change(engine, "load", "tiny@none", tmp_path)[0] == 404
    assert change(engine, "unload", "tiny@none")[0] == 404
    wider = tmp_path / "wider"
    torch.manual_seed(9)
    settings = LoraConfig(r=4, target_modules=["no_such_layer"])
    settings.save_pretrained(str(wider))
    (wider / "adapter_model.safetensors").write_bytes((one / "adapter_model.safetensors").read_bytes())
    status, said = change(engine, "load", "tiny@wider", wider)
    assert status == 400
    assert "peft cannot load it" in said
    for number in (1, 2):
        assert change(engine, "load", f"tiny@{number}", one) == (200, "loaded")
    assert change(engine, "load", "tiny@1", one) == (400, "tiny@1 is loaded already")
    assert change(engine, "load", "tiny@3", one) == (400, "2 adapters are loaded already")
