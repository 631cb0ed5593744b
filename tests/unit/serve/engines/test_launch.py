"""What a stack file says of an engine stands in its command line."""

from pathlib import Path

from serve.config.stack import Adapters, TorchEngine, VllmEngine
from serve.engines.launch import launch
from tests.support.scripted import make_artifact


def test_vllm_takes_adapters_on_the_layers_it_was_told(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "m", "lora", "text-generation")
    engine = VllmEngine(kind="vllm", adapters=Adapters(slots=2, rank=8, modules=("q_proj", "v_proj")))
    words = launch(engine, artifact.path, artifact.manifest, "m@lora").command
    place = words.index("--lora-target-modules")
    assert words[place + 1 : place + 3] == ("q_proj", "v_proj")
    assert words[words.index("--max-lora-rank") + 1] == "8"
    plain = launch(VllmEngine(kind="vllm"), artifact.path, artifact.manifest, "m@baseline")
    assert not any("lora" in word for word in plain.command)


def test_an_engine_computes_with_its_own_threads_alone(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "m", "baseline", "text-generation")
    launched = launch(VllmEngine(kind="vllm", threads=3), artifact.path, artifact.manifest, "m@baseline")
    assert launched.environment["OMP_NUM_THREADS"] == "3"
    assert launched.environment["HF_HUB_OFFLINE"] == "1"


def test_torch_serves_pictures_and_classes_by_modules_of_their_own(tmp_path: Path) -> None:
    modules = {}
    for task in ("image-classification", "image-generation"):
        artifact = make_artifact(tmp_path, "m", task, task)
        modules[task] = launch(TorchEngine(kind="torch"), artifact.path, artifact.manifest, "m@v").command[2]
    assert modules == {
        "image-classification": "serve.engines.torch.image",
        "image-generation": "serve.engines.torch.image_generation",
    }
