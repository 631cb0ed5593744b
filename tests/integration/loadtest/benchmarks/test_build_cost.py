"""A slice of `make build-cost`: a Llama of two layers is written, built, and its peak is a figure."""

from pathlib import Path

import pytest

from loadtest.benchmarks.build_cost import Shape, measure, write_llama

pytestmark = pytest.mark.integration


def test_builds_of_a_small_llama_have_their_cost(tmp_path: Path) -> None:
    write_llama(tmp_path / "model", Shape(hidden=64, inner=128, layers=2, vocabulary=512))
    for scheme in ("nf4", "w8a8"):
        figure = measure(tmp_path, scheme, "rtn")
        assert (figure["scheme"], figure["bf16_bytes"]) == (scheme, 2 * figure["parameters"])
        assert figure["seconds"] > 0
        assert isinstance(figure["peak_bytes"], int)
