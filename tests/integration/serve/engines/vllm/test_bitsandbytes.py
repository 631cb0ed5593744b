"""bitsandbytes in vLLM: answered as transformers answers, and in NF4 with adapters as peft computes them."""

from collections.abc import Iterator, Sequence
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from serve.engines.vllm import nf4
from tests.integration.serve.engines.engine import Engine, running_vllm, write_manifest
from tests.integration.serve.engines.tiny_text import CONTEXT, write_tiny_text
from variants.machine import multiplies_bfloat16

pytestmark = pytest.mark.integration

PROMPT = "<user>a good film<assistant>"
NAMES = ("tiny@one:0a", "tiny@two:1.b")
SETTINGS = {"context": CONTEXT, "kv_cache_mib": 16, "sequences": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16},
    "int8": {"load_in_8bit": True},
}
CLOSE = 0.04
"""Of probabilities: bfloat16 in two implementations."""


class Made(NamedTuple):
    """An artifact's folder, and what transformers answers with it: the five greatest probabilities after PROMPT, of the
    base ("") and of each adapter."""

    folder: Path
    adapters: dict[str, Path]
    expected: dict[str, list[float]]


def quantized(parent: Path, folder: Path, scheme: str) -> None:
    """Stored before its first use: bitsandbytes packs 4-bit weights at that, and what is stored afterwards is wrong."""
    config = BitsAndBytesConfig(**CONFIGS[scheme])
    model = AutoModelForCausalLM.from_pretrained(
        parent, dtype=torch.bfloat16, quantization_config=config, device_map="cpu"
    )
    model.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(parent).save_pretrained(folder / "model")
    write_manifest(folder)


def likeliest(folder: Path, adapter: Path | None = None) -> list[float]:
    dtype = torch.bfloat16 if multiplies_bfloat16() else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=dtype, device_map="cpu").eval()
    for module in model.modules():  # peft asks for the model's state, and packed weights give it wrongly
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    if adapter:
        model = PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=False).eval()
    ids = AutoTokenizer.from_pretrained(folder / "model")(PROMPT, return_tensors="pt").input_ids
    with torch.inference_mode():
        scores = model(input_ids=ids).logits[0, -1].float().softmax(-1)
    return list(scores.topk(5).values.tolist())


@pytest.fixture(scope="module", params=list(CONFIGS))
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Made:
    parent, folder = write_tiny_text(tmp_path_factory.mktemp("parent")), tmp_path_factory.mktemp(request.param)
    quantized(parent, folder, request.param)
    adapters = {}
    for seed, name in enumerate(NAMES if request.param == "nf4" else ()):
        torch.manual_seed(seed)
        settings = LoraConfig(r=4, lora_alpha=256, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        adapters[name] = tmp_path_factory.mktemp("adapter")
        base = AutoModelForCausalLM.from_pretrained(folder / "model", device_map="cpu")
        get_peft_model(base, settings).save_pretrained(str(adapters[name]))
    expected = {name: likeliest(folder, adapters.get(name)) for name in ("", *adapters)}
    return Made(folder, adapters, expected)


@pytest.fixture(scope="module")
def engine(made: Made) -> Iterator[Engine]:
    adapters = {"adapters": {"slots": 2, "rank": 8, "modules": ("q_proj", "v_proj")}} if made.adapters else {}
    with running_vllm(made.folder, "tiny", **SETTINGS, **adapters) as engine:
        yield engine


def first(engine: Engine, name: str) -> list[float]:
    """The five greatest probabilities of the first token after PROMPT."""
    body = {"model": name, "prompt": PROMPT, "max_tokens": 1, "temperature": 0, "logprobs": 5}
    body["return_tokens_as_token_ids"] = True  # several tokens may have one text
    status, answer = engine.post("/v1/completions", body)
    assert status == 200, answer
    return sorted(map(exp, answer["choices"][0]["logprobs"]["top_logprobs"][0].values()), reverse=True)[:5]


def test_it_answers_as_transformers_does_with_each_adapter_and_without(engine: Engine, made: Made) -> None:
    assert first(engine, "tiny") == pytest.approx(made.expected[""], abs=CLOSE)
    for name, folder in made.adapters.items():
        body = {"lora_name": name, "lora_path": str(folder)}
        assert httpx.post(f"{engine.url}/v1/load_lora_adapter", json=body, timeout=60).status_code == 200
        assert first(engine, name) == pytest.approx(made.expected[name], abs=CLOSE)
    assert first(engine, "tiny") == pytest.approx(made.expected[""], abs=CLOSE)
    apart = {tuple(round(value, 1) for value in values) for values in made.expected.values()}
    assert len(apart) == len(made.expected), "answers that are alike would prove nothing"


class Layer(torch.nn.Module):
    """A fused layer as the plug-in loads it: two parts of 4-bit weights, and the state of each."""

    def __init__(self, parts: Sequence[torch.Tensor]) -> None:
        from bitsandbytes.functional import quantize_4bit

        super().__init__()
        packed = [quantize_4bit(part, quant_type="nf4", blocksize=64) for part in parts]
        self.weight = torch.nn.Parameter(torch.cat([weight for weight, _ in packed]), requires_grad=False)
        self.weight.bnb_quant_state = {at: state for at, (_, state) in enumerate(packed)}
        bounds = torch.tensor([0, *(weight.shape[0] for weight, _ in packed)]).cumsum(0)
        self.weight.bnb_shard_offsets = bounds


class Method:
    class quant_config:
        load_in_8bit = False


@pytest.mark.parametrize(("rows", "packed"), [((64, 32), True), ((64, 40), False)])
@pytest.mark.parametrize("tokens", [1, 7])
def test_a_fused_layer_is_the_product_of_its_dequantized_parts(
    rows: tuple[int, int], packed: bool, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitsandbytes.functional import dequantize_4bit, has_avx512bf16

    torch.manual_seed(0)
    layer = Layer([torch.randn(size, 128, dtype=torch.bfloat16) for size in rows])
    bounds = layer.weight.bnb_shard_offsets.tolist()
    weight = torch.cat([
        dequantize_4bit(layer.weight.data[bounds[at] : bounds[at + 1]], state)
        for at, state in layer.weight.bnb_quant_state.items()
    ]).float()  # fmt: skip
    x, bias = torch.randn(tokens, 128, dtype=torch.bfloat16), torch.randn(sum(rows), dtype=torch.bfloat16)
    nf4.pack(Method(), layer)
    assert (layer.weight.shape == (sum(rows), 64)) == (packed and has_avx512bf16())
    product = nf4.multiply(Method(), layer, x, bias).float()
    torch.testing.assert_close(product, x.float() @ weight.T + bias.float(), atol=0.3, rtol=0.03)
