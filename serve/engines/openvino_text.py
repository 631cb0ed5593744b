"""Text embeddings by OpenVINO on a CPU, in the precision that the manifest names (`openvino_model`).

The IR pools and normalises; here are the tokenizer that lies beside it and the way from token ids to its inputs."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import openvino
from starlette.types import ASGIApp
from tokenizers import Tokenizer

from serve.engines import embedding_api, server
from serve.engines.artifact import open_artifact
from serve.engines.embedding_batch import Floats, Ids, padded
from serve.engines.openvino_model import compiled
from variants.errors import EngineError


class OpenVinoEmbedder:
    """A compiled encoder and its tokenizer."""

    platform = "openvino"

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        """Raises EngineError where the folder's model or tokenizer is none, or the precision one it does not do."""
        self.executes, self.request = compiled(str(folder / "model.xml"), precision, threads, shapes_vary=True)
        model = self.request.get_compiled_model()
        if {port.any_name for port in model.inputs} != {"input_ids", "attention_mask"}:
            raise EngineError("not a text encoder", field=str(folder / "model.xml"), mend="build it again")
        self.width = model.outputs[0].partial_shape[1].get_length()
        try:
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.context = int(json.loads((folder / "tokenizer_config.json").read_bytes())["model_max_length"])
        except Exception as error:  # tokenizers raises nothing narrower
            raise EngineError(f"no tokenizer: {error!r}", field=str(folder), mend="build it again") from None
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.vocabulary = self.tokenizer.get_vocab_size()
        self.computed_ns = 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self.tokenizer.encode_batch(list(texts))]

    def embed(self, batch: Sequence[Ids]) -> Floats:
        tokens, mask = padded(batch, self.context)  # names of their own: OpenVINO does not keep them alive
        self.request.set_tensor("input_ids", openvino.Tensor(tokens, shared_memory=True))
        self.request.set_tensor("attention_mask", openvino.Tensor(mask, shared_memory=True))
        self.request.infer()
        self.computed_ns += int(self.request.latency * 1e6)
        found: Floats = self.request.get_output_tensor().data.copy()
        return found


def build(options: argparse.Namespace) -> ASGIApp:
    artifact = open_artifact(options.artifact)
    if artifact.manifest is None:
        raise EngineError(f"no manifest in {options.artifact}", field="--artifact", mend="an artifact's folder")
    model = OpenVinoEmbedder(artifact.model, artifact.manifest.precision, options.threads)
    return embedding_api.build(model, options.name, artifact.digest)


if __name__ == "__main__":
    server.main(build, server.arguments("text embeddings by OpenVINO on a CPU"))
