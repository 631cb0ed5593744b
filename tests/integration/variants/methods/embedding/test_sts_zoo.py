"""STS-B's test pairs: the demo's encoder ranks them as its publisher says, and int8 ranks them as well.

Spearman's correlation of cosines with what people said (Cer et al. 2017, arXiv 1708.00055). The pairs may not be copied
into the project, so they are read where UNDERSTUDY_ZOO says.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from serve.config.artifacts import build_stack
from serve.config.loader import load, only
from serve.engines.http.embedding_batch import MOST
from serve.engines.openvino.text_encoder import OpenVinoEmbedder
from tests.support.processes import ROOT
from tests.support.zoo import zoo

pytestmark = [pytest.mark.integration, pytest.mark.zoo]
PUBLISHED = 0.820


def pairs(path: Path) -> tuple[list[float], list[str], list[str]]:
    """Scores from 0 to 5, first and second sentences."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [float(row[4]) for row in rows], [row[5] for row in rows], [row[6] for row in rows]


def ranks(values: "np.ndarray | list[float]") -> np.ndarray:
    """Ranks, equal values sharing the middle of theirs."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + 1 + ends) / 2)[place]


def embedded(model: OpenVinoEmbedder, texts: list[str]) -> np.ndarray:
    ids = model.encode(texts)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    embeddings = np.empty((len(ids), model.width), dtype=np.float32)
    for start in range(0, len(order), MOST):
        part = order[start : start + MOST]
        embeddings[part] = model.embed([ids[index] for index in part])
    return embeddings


def test_int8_ranks_pairs_as_well_as_the_baseline() -> None:
    scores, first, second = pairs(zoo("text/sts_test.csv"))
    assert len(scores) == 1379
    alone = only(load(ROOT / "deploy" / "stacks" / "demo.yaml"), "minilm")
    correlations = {}
    for (_, variant), artifact in build_stack(alone).items():
        model = OpenVinoEmbedder(artifact.model_path, artifact.manifest.precision, 1)
        cosines = (embedded(model, first) * embedded(model, second)).sum(axis=1)
        correlations[variant] = np.corrcoef(ranks(cosines), ranks(scores))[0, 1]
    assert abs(correlations["baseline"] - PUBLISHED) < 0.005
    print(correlations)
    assert abs(correlations["int8"] - correlations["baseline"]) <= 0.01
