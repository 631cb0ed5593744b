"""Text embeddings by OpenVINO on a CPU, in the precision that the manifest names (`openvino_model`).

The IR pools and normalises; here are the tokenizer that lies beside it and the way from token ids to its inputs."""

import argparse
import json
import threading
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp
from tokenizers import Tokenizer

from serve.engines.artifact import open_built
from serve.engines.base import Floats, Ids
from serve.engines.http import embeddings, server
from serve.engines.http.embedding_batch import padded
from serve.engines.openvino.model import Compiled
from variants.errors import EngineError


class OpenVinoEmbedder(Compiled):
    """A compiled encoder and its tokenizer."""

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        """Raises EngineError where the folder's model or tokenizer is none, or the precision one it does not do."""
        super().__init__(folder / "model.xml", precision, threads, shapes_vary=True)
        if {port.any_name for port in self.inputs} != {"input_ids", "attention_mask"}:
            raise EngineError("not a text encoder", field=str(folder / "model.xml"), mend="build it again")
        self.width = self.request.get_compiled_model().outputs[0].partial_shape[1].get_length()
        try:
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.context = int(json.loads((folder / "tokenizer_config.json").read_bytes())["model_max_length"])
        except Exception as error:  # tokenizers raises nothing narrower
            raise EngineError(f"no tokenizer: {error!r}", field=str(folder), mend="build it again") from None
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.vocabulary = self.tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]

    def embed(self, batch: Sequence[Ids], gone: threading.Event | None = None) -> Floats:
        tokens, mask = padded(batch, self.context)
        return self.run(gone=gone, input_ids=tokens, attention_mask=mask).copy()


def build(options: argparse.Namespace) -> ASGIApp:
    artifact, manifest = open_built(options.artifact)
    model = OpenVinoEmbedder(artifact.model, manifest.precision, options.threads)
    return embeddings.build(model, options.name, artifact.digest)


if __name__ == "__main__":
    server.main(build, server.arguments("text embeddings by OpenVINO on a CPU"))
