"""How far an engine's answers are from those of transformers.

transformers computes with the same artifact where it holds weights, and with the source of the model where it holds an
OpenVINO model alone. Torch computes in float32.
"""

import base64
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from loadtest.benchmarks.architectures.tiny import SCENE, SIDE
from serve.engines.process import EngineProcess
from variants.artifacts.store import Artifact

TEXTS = ("Oil fell.", "The river rose in the night.")
NAME = "tiny@variant"
"""The engine's model name."""
WEIGHTS = "model.safetensors"
_SURE = 0.1
"""The least score of a box that is looked for."""


def of_texts(engine: EngineProcess, name: str, folder: Path, adapter: Path | None = None) -> float:
    """Log probabilities of the five likeliest next tokens under the model name `name`, against transformers on the
    same weights, with peft's adapter where there is one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    worst = 0.0
    for text in TEXTS:
        asked = {"prompt": text, "max_tokens": 1, "temperature": 0, "logprobs": 5, "return_tokens_as_token_ids": True}
        answer = _posted(engine, "/v1/completions", {"model": name, **asked})
        (likeliest,) = answer["choices"][0]["logprobs"]["top_logprobs"]
        with torch.no_grad():
            logits = model(input_ids=tokenizer(text, return_tensors="pt")["input_ids"]).logits[0, -1]
        wanted = logits.float().log_softmax(-1)
        given = {int(token.removeprefix("token_id:")): value for token, value in likeliest.items()}
        worst = max(worst, *(abs(value - float(wanted[token])) for token, value in given.items()))
    return worst


def rounding(folder: Path) -> float:
    """How far transformers in bfloat16 is from itself in float32 on the same weights: log probabilities of the five
    likeliest tokens after each token of the texts. Activations that are rounded to integers make much of bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [tokenizer(text, return_tensors="pt")["input_ids"] for text in TEXTS]
    logs = []
    for dtype in (torch.float32, torch.bfloat16):
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        with torch.no_grad():
            logs.append(torch.cat([model(input_ids=ids).logits[0].float().log_softmax(-1) for ids in texts]))
    likeliest = logs[0].topk(5, -1).indices
    return float((logs[0] - logs[1]).gather(-1, likeliest).abs().max())


def of_classes(engine: EngineProcess, source: Path, artifact: Artifact) -> float:
    """Scores of classes, against transformers on the artifact's weights, or on the source where it has none; a text at
    a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from variants.methods.text_classification.model import of_artifact

    if (artifact.model_path / WEIGHTS).is_file():
        model, tokenizer = of_artifact(artifact)
    else:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    rows = []
    for text in TEXTS:
        with torch.no_grad():
            output: Any = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False))
        rows.append(output.logits[0].softmax(0))
    return _apart(engine, _texts(), torch.stack(rows))


def of_embeddings(engine: EngineProcess, source: Path) -> float:
    """Embeddings by the mean, against transformers on the source; a text at a time."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source).eval()
    rows = []
    for text in TEXTS:
        with torch.no_grad():
            output = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False))
        rows.append(torch.nn.functional.normalize(output.last_hidden_state[0].mean(0), dim=0))
    return _apart(engine, _texts(), torch.stack(rows))


def of_pixels(engine: EngineProcess, source: Path, artifact: Artifact) -> float:
    """Scores of classes of one image, given as pixels, against transformers on the artifact's weights, or on the source
    where it has none."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForImageClassification

    weights = artifact.model_path / WEIGHTS
    if weights.is_file():
        config = AutoConfig.from_pretrained(source, num_labels=len(artifact.manifest.labels or ()))
        model: Any = AutoModelForImageClassification.from_config(config)
        model.load_state_dict(load_file(weights))
    else:
        model = AutoModelForImageClassification.from_pretrained(source)
    pixels = torch.linspace(-1, 1, 3 * SIDE * SIDE).reshape(1, 3, SIDE, SIDE)
    with torch.no_grad():
        wanted = model.eval()(pixels).logits.softmax(1)
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(pixels.shape), "data": pixels.flatten().tolist()}
    return _apart(engine, tensor, wanted)


def of_boxes(engine: EngineProcess, source: Path) -> float:
    """How far the boxes that transformers finds with the source are from the nearest of the engine's. Each of a box'
    sides, as a share of the image's, and its score is compared; a box of another label is 1 away."""
    import torch
    from PIL import Image
    from transformers import AutoModelForObjectDetection

    values = np.random.default_rng(0).integers(0, 256, (SCENE, SCENE, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    model: Any = AutoModelForObjectDetection.from_pretrained(source).eval()
    pixels = torch.from_numpy(values).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        output = model(pixels)
    scores, labels = output.logits[0].softmax(-1)[:, :-1].max(-1)
    middle, size = output.pred_boxes[0].split(2, dim=-1)
    corners = torch.cat([middle - size / 2, middle + size / 2], dim=-1).clamp(0, 1)
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(file.getvalue()).decode()]}
    answer = _posted(engine, f"/v2/models/{NAME}/infer", {"inputs": [image]})
    given = {each["name"]: each["data"] for each in answer["outputs"]}
    boxes = np.array(given["boxes"]).reshape(-1, 4) / SCENE
    named = [model.config.id2label[int(label)] for label in labels]
    sure = [at for at, score in enumerate(scores.tolist()) if score >= _SURE]
    if not sure:
        raise ValueError(f"no query of {source.name} scores {_SURE}: nothing is compared")
    worst = 0.0
    for at in sure:
        alike = [place for place, label in enumerate(given["labels"]) if label == named[at]]
        rows = np.array([[*boxes[place], given["scores"][place]] for place in alike]).reshape(-1, 5)
        wanted = np.array([*corners[at].tolist(), float(scores[at])])
        worst = max(worst, float(np.abs(rows - wanted).max(1).min(initial=1.0)))
    return worst


def _texts() -> dict[str, Any]:
    return {"name": "text", "datatype": "BYTES", "shape": [len(TEXTS)], "data": list(TEXTS)}


def _apart(engine: EngineProcess, tensor: dict[str, Any], wanted: Any) -> float:
    """The largest difference of the model's first output from `wanted`, float32 [rows, numbers]."""
    output = _posted(engine, f"/v2/models/{NAME}/infer", {"inputs": [tensor]})["outputs"][0]
    return float(np.abs(np.asarray(output["data"]).reshape(wanted.shape) - wanted.numpy()).max())


def _posted(engine: EngineProcess, path: str, body: dict[str, Any]) -> Any:
    """The JSON of an answer. HTTPError for any status but 200."""
    answer = httpx.post(engine.url + path, json=body, headers=engine.headers, timeout=300)
    answer.raise_for_status()
    return answer.json()
