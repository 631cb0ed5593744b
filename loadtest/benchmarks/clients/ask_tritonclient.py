"""What tritonclient gets from one variant, over HTTP or gRPC: `python -I ask_tritonclient.py JSON`. Prints one line; an
AssertionError or an error of the client says what is wrong."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

BATCH = 3


def inputs(triton: Any, metadata: dict[str, Any], picture: bytes) -> dict[str, Any]:
    """The inputs by name, each alone enough: BYTES are texts or the picture, numbers are random in [0, 1)."""
    made = {}
    for described in metadata["inputs"]:
        kind, sizes = described["datatype"], [int(size) for size in described["shape"]]
        shape = [BATCH, *(8 if size < 0 else size for size in sizes[1:])]
        if kind == "BYTES":
            value = picture if described["name"] == "image" else b"oil prices rose"
            data = np.full(shape, value, dtype=object)
        else:
            data = np.random.default_rng(0).random(shape).astype(triton_to_np_dtype(kind))
        made[described["name"]] = triton.InferInput(described["name"], shape, kind)
        made[described["name"]].set_data_from_numpy(data)
    return made


def check(outputs: list[dict[str, Any]], answer: Any) -> str:
    """Every output that the metadata name is there, with the sizes that they name and finite numbers."""
    shapes = []
    for described in outputs:
        name, sizes = described["name"], [int(size) for size in described["shape"]]
        value = answer.as_numpy(name)
        assert value is not None, f"the output {name} is missing"
        fits = [size if said < 0 else said for said, size in zip(sizes, value.shape, strict=True)]
        assert list(value.shape) == fits, f"{name} has the shape {value.shape}, and {sizes} was announced"
        if value.dtype != object:
            assert np.isfinite(value).all(), f"{name} has numbers that are not finite"
        if name in ("scores", "embedding"):
            assert len(value) == BATCH, f"{name} has {len(value)} rows for {BATCH} inputs"
        if name == "scores" and value.ndim == 2:
            assert np.allclose(value.sum(axis=1), 1, atol=1e-2), f"the scores add up to {value.sum(axis=1)}"
        if name == "embedding":
            assert np.linalg.norm(value, axis=1).min() > 0, "a vector is zero"
        shapes.append(f"{name} {list(value.shape)}")
    return ", ".join(shapes)


def main(asked: dict[str, str]) -> str:
    triton = importlib.import_module(f"tritonclient.{asked['protocol']}")
    grpc = asked["protocol"] == "grpc"
    as_json = {"as_json": True} if grpc else {}
    model, _, variant = asked["name"].partition("@")
    picture = Path(asked["picture"]).read_bytes()
    with triton.InferenceServerClient(asked["grpc"] if grpc else asked["url"].removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model, variant)
        assert not client.is_model_ready(model, "nothing"), "an unknown variant is ready"
        metadata = client.get_model_metadata(model, variant, **as_json)
        assert metadata["name"] == model, metadata
        assert metadata["inputs"], "the metadata name no input"
        said = []
        for name, tensor in inputs(triton, metadata, picture).items():
            answer = client.infer(model, [tensor], model_version=variant)
            response = answer.get_response(**as_json)
            served = response["model_name"], response["model_version"]
            assert served == (model, variant), f"{served} answered"
            said.append(f"{name}: {check(metadata['outputs'], answer)}")
        status = None
        try:
            client.infer(f"{model}-nothing", [tensor])
        except InferenceServerException as error:
            status = error.status()
    assert status in ("404", "StatusCode.NOT_FOUND"), f"an unknown model is refused with {status}"
    return "; ".join(said)


if __name__ == "__main__":
    print(main(json.loads(sys.argv[1])))
