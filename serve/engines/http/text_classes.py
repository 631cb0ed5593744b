"""The text classifiers' HTTP routes: Open Inference Protocol v2 (`text` in, `scores` and `labels` out), and `/health`.

A classifier is run as an encoder is, its logits in the place of an embedding: the same batches of like length, the same
checks of texts, which are refused where they are too long, not cut."""

from collections.abc import Sequence

from starlette.applications import Starlette

from serve.engines.base import Embedder, Floats
from serve.engines.http.embeddings import EncoderApi
from serve.engines.http.images import softmax
from serve.engines.http.tensors import Port, application
from serve.protocols.open_inference import Tensor, bytes_tensor
from variants.errors import EngineError


def build(model: Embedder, labels: Sequence[str] | None, name: str) -> Starlette:
    """The application that answers for `model`, whose `embed` gives logits, under the model name `name`. EngineError
    where there are not as many labels as logits."""
    if labels is None or len(labels) != model.width:
        count = "no labels" if labels is None else f"{len(labels)} labels"
        raise EngineError(f"{count} for {model.width} classes", field="manifest.labels", mend="build it again")
    return application(TextClassifierApi(model, labels, name))


class TextClassifierApi(EncoderApi):
    """The routes of one classifier."""

    def __init__(self, model: Embedder, labels: Sequence[str], name: str) -> None:
        super().__init__(model, name, Port("scores", "FP32", (-1, len(labels))), Port("labels", "BYTES", (-1,)))
        self.labels = [label.encode() for label in labels]

    def tensors(self, rows: Floats) -> Sequence[Tensor]:
        top = bytes_tensor("labels", (self.labels[i] for i in rows.argmax(axis=1)))
        return [Tensor("scores", "FP32", softmax(rows)), top]
