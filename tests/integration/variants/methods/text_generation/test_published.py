"""Checkpoints and adapters that other programs made: llmcompressor and peft write them here, not this project."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve.config.stack import Stack
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.recipes import parse_recipe
from variants.artifacts.adapter import Adapter, check_adapter
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError, SourceError, UnderstudyError
from variants.files import hash_folder
from variants.recipes.source import Source

pytestmark = pytest.mark.integration
BASELINE = {"kind": "baseline", "dtype": "bfloat16"}
KINDS = {"w8a8": "published", "gptq": "published", "style": "adapter"}
PROMPT = "w1 w2 w3 w4"
RANK = 8
Edit = Callable[[dict[str, Any]], object]


def compress(source: Path, out: Path, modifier: Any, **data: Any) -> None:
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source)
    oneshot(model=model, recipe=[modifier], **data)
    model.save_pretrained(out, save_compressed=True)
    AutoTokenizer.from_pretrained(source).save_pretrained(out)


def train_nothing(source: Path, out: Path) -> None:
    """A random adapter with the scaling of rsLoRA."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=RANK, lora_alpha=16, use_rslora=True, target_modules=["q_proj", "v_proj"])
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(source), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(str(out))


@pytest.fixture(scope="module")
def elsewhere(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from datasets import Dataset
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier

    folder = tmp_path_factory.mktemp("elsewhere")
    compress(tiny_llama, folder / "w8a8", QuantizationModifier(targets="Linear", scheme="W8A8", ignore=["lm_head"]))
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    rows = [[number % 128 for number in range(start, start + 16)] for start in range(8)]
    data = Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * 16] * 8})
    modifier = GPTQModifier(config_groups=groups, ignore=["lm_head"])
    compress(tiny_llama, folder / "gptq", modifier, dataset=data, num_calibration_samples=8, max_seq_length=16)
    train_nothing(tiny_llama, folder / "style")
    return folder


def plans(base: Path, **sources: Path) -> list[VariantPlan]:
    first = VariantPlan("tiny", "baseline", "text-generation", source_of(base), parse_recipe(BASELINE))
    return [first, *(plan(name, path) for name, path in sources.items())]


def plan(name: str, path: Path) -> VariantPlan:
    recipe, parent = parse_recipe({"kind": KINDS[name]}), "baseline" if KINDS[name] == "adapter" else None
    return VariantPlan("tiny", name, "text-generation", source_of(path), recipe, parent, has_own_source=True)


def source_of(path: Path) -> Source:
    return Source(uri=str(path), licence="Apache-2.0")


@pytest.fixture(scope="module")
def built(tiny_llama: Path, elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    home = tmp_path_factory.mktemp("home")
    before = hash_folder(elsewhere)
    made = build(plans(tiny_llama, **{name: elsewhere / name for name in KINDS}), Store(home), Catalog(home))
    assert hash_folder(elsewhere) == before, "a source is never written to"
    return {name: artifact for (_, name), artifact in made.items()}


def test_a_checkpoint_is_what_it_was_and_says_what_it_is(built: dict[str, Artifact], elsewhere: Path) -> None:
    for name, precision, says in (
        ("w8a8", "int8", "as published: compressed-tensors, int-quantized, int of 8 bits"),
        ("gptq", "int4", "as published: compressed-tensors, pack-quantized, int of 4 bits"),
    ):
        manifest = built[name].manifest
        assert (manifest.precision, manifest.format, manifest.note) == (precision, "huggingface", says)
        assert [source.uri for source in manifest.sources] == [str(elsewhere / name)]
        for file in ("model.safetensors", "config.json", "tokenizer.json"):
            assert (built[name].model_path / file).read_bytes() == (elsewhere / name / file).read_bytes()


def test_an_adapter_is_bound_to_its_base(built: dict[str, Artifact], tiny_llama: Path, elsewhere: Path) -> None:
    manifest, base = built["style"].manifest, built["baseline"].manifest
    assert (manifest.format, manifest.parent_digest) == ("adapter", base.digest)
    assert check_adapter(built["style"], base, RANK) == Adapter(RANK, ("q_proj", "v_proj"))
    assert [source.uri for source in manifest.sources] == [str(tiny_llama), str(elsewhere / "style")]
    config = json.loads((built["style"].model_path / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["use_rslora"]) == ("tiny@baseline", True)


async def test_served_they_answer_as_transformers_does(
    built: dict[str, Artifact], tiny_llama: Path, elsewhere: Path, tmp_path: Path
) -> None:
    engine = {"kind": "vllm", "kv_cache_mib": 16, "sequences": 4}
    with_slots = engine | {"adapters": {"slots": 1, "rank": RANK, "modules": ["q_proj", "v_proj"]}}
    source = {"uri": "./somewhere", "licence": "MIT"}
    variants: dict[str, Any] = {"baseline": {"recipe": BASELINE, "engine": with_slots, "weight": 1}}
    for name, kind in KINDS.items():
        variants[name] = {"recipe": {"kind": kind}, "source": source, "engine": engine}
    variants["style"] |= {"parent": "baseline", "engine": with_slots}
    model = {"task": "text-generation", "source": source, "variants": variants}
    document = {"schema": 1, "server": {"port": free_port()}, "models": {"tiny": model}}
    artifacts = {("tiny", name): artifact for name, artifact in built.items()}
    async with local(tmp_path, Stack.model_validate(document), artifacts) as served:
        assert len(served.deployer.engines) == 3, "the adapter shares its base's engine"
        for name in built:
            body = {
                "model": f"tiny@{name}", "prompt": PROMPT, "max_tokens": 6, "temperature": 0, "logprobs": 1,
                "ignore_eos": True, "return_tokens_as_token_ids": True,
            }  # fmt: skip
            answer = (await served.client.post("/v1/completions", json=body)).json()
            assert "error" not in answer, answer
            assert answer["system_fingerprint"] == built[name].manifest.digest
            given = answer["choices"][0]["logprobs"]
            tokens = [int(token.removeprefix("token_id:")) for token in given["tokens"]]
            wanted = expected(name, tiny_llama, elsewhere, tokens)
            # Other kernels round differently: a wrong scale or a missing adapter is tenths away.
            assert given["token_logprobs"] == pytest.approx(wanted, abs=0.05), name


def expected(name: str, base: Path, elsewhere: Path, tokens: list[int]) -> list[float]:
    """The log probabilities of `tokens` after PROMPT, by transformers and peft."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    compressed = KINDS.get(name) == "published"
    model: Any = AutoModelForCausalLM.from_pretrained(elsewhere / name if compressed else base)
    if name == "style":
        model = PeftModel.from_pretrained(model, elsewhere / name)
    prompt = AutoTokenizer.from_pretrained(base)(PROMPT, return_tensors="pt")["input_ids"]
    ids = torch.cat([prompt, torch.tensor([tokens])], dim=1)
    with torch.inference_mode():
        logprobs = torch.log_softmax(model.eval()(ids).logits[0].float(), dim=-1)
    start = prompt.shape[1] - 1
    return [float(logprobs[start + at, token]) for at, token in enumerate(tokens)]


def edited(folder: Path, out: Path, name: str, edit: Edit) -> Path:
    shutil.copytree(folder, out)
    config = json.loads((out / name).read_text())
    edit(config)
    (out / name).write_text(json.dumps(config))
    return out


def refused(tmp_path: Path, base: Path, name: str, source: Path) -> UnderstudyError:
    with pytest.raises((RecipeError, SourceError)) as error:
        build(plans(base, **{name: source}), Store(tmp_path / "home"), Catalog(tmp_path / "home"))
    assert str(error.value.field).startswith(f"models.tiny.variants.{name}.")
    assert not list((tmp_path / "home" / "artifacts" / ".staging").iterdir())
    return error.value


def claim(**fields: Any) -> Edit:
    return lambda config: config.__setitem__("quantization_config", fields)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda config: config.pop("quantization_config"), "is not compressed"),
        (claim(quant_method="hqq", bits=4), "no engine here runs quantization hqq of 4 bits"),
        (claim(quant_method="gptq", bits=3), "no engine here runs quantization gptq of 3 bits"),
        (claim(quant_method="gptq", bits=4, group_size=32), "config.json says gptq, 4 bits"),
        (claim(quant_method="awq", bits=4, group_size=32), "config.json says awq, 4 bits"),
        (claim(quant_method="fp8"), "config.json says fp8"),
        (claim(quant_method="bitsandbytes", bnb_4bit_quant_type="nf4"), "config.json says bitsandbytes, nf4"),
        (claim(quant_method="compressed-tensors"), "without groups of weights"),
        (lambda config: config["quantization_config"].update(format="marlin-24"), "marlin-24"),
    ],
)
def test_a_config_that_lies_or_names_what_no_engine_runs(
    tmp_path: Path, tiny_llama: Path, elsewhere: Path, edit: Edit, says: str
) -> None:
    source = edited(elsewhere / "w8a8", tmp_path / "source", "config.json", edit)
    assert says in str(refused(tmp_path, tiny_llama, "w8a8", source))


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("config.json", "config.json cannot be read"),
        ("model.safetensors", "pickles"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_a_checkpoint_that_lacks_a_file(
    tmp_path: Path, tiny_llama: Path, elsewhere: Path, missing: str, says: str
) -> None:
    source = shutil.copytree(elsewhere / "w8a8", tmp_path / "source")
    (source / missing).unlink()
    assert says in str(refused(tmp_path, tiny_llama, "w8a8", source))


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda config: config.update(peft_type="IA3"), "of type IA3"),
        (lambda config: config.update(use_dora=True), "use_dora"),
        (lambda config: config.update(rank_pattern={"q_proj": 4}), "rank_pattern"),
        (lambda config: config.update(modules_to_save=["lm_head"]), "modules_to_save"),
        (lambda config: config.update(bias="all"), "bias"),
        (lambda config: config.update(r=4), "would fit rank 4"),
        (lambda config: config.pop("r"), "not what peft writes"),
    ],
)
def test_an_adapter_that_no_engine_follows(
    tmp_path: Path, tiny_llama: Path, elsewhere: Path, edit: Edit, says: str
) -> None:
    source = edited(elsewhere / "style", tmp_path / "source", "adapter_config.json", edit)
    assert says in str(refused(tmp_path, tiny_llama, "style", source))


def test_an_adapter_of_another_base(tmp_path: Path, tiny_llama: Path, elsewhere: Path) -> None:
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    wider = LlamaConfig(
        vocab_size=128, hidden_size=128, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(wider).save_pretrained(tmp_path / "wider")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path / "wider")
    error = refused(tmp_path, tmp_path / "wider", "style", elsewhere / "style")
    assert "q_proj" in str(error)
    assert "would fit rank 8 and the base" in str(error)


def test_a_stack_file_must_name_their_source() -> None:
    engine = {"kind": "vllm"}
    variants = {
        "baseline": {"recipe": BASELINE, "engine": engine, "weight": 1},
        "int8": {"recipe": {"kind": "published"}, "engine": engine},
    }
    model = {"task": "text-generation", "source": {"uri": "./x", "licence": "MIT"}, "variants": variants}
    with pytest.raises(ValueError, match="'int8': kind published needs a `source` of its own"):
        Stack.model_validate({"schema": 1, "models": {"tiny": model}})
