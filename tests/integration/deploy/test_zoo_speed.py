"""Where a forward pass goes, by OpenVINO's counters."""

from pathlib import Path

import openvino
import pytest
import torch

from deploy.zoo_speed import spent

pytestmark = pytest.mark.integration


def test_convolutions_are_told_from_all_else(tmp_path: Path) -> None:
    layers = [torch.nn.Conv2d(3, 64, 3), torch.nn.Flatten(), torch.nn.Linear(64 * 30 * 30, 2)]
    for name, model in {"both": torch.nn.Sequential(*layers), "one": layers[0]}.items():
        shape = [1, 3, 32, 32]
        converted = openvino.convert_model(model, example_input=torch.zeros(shape), input=[shape])
        openvino.save_model(converted, tmp_path / f"{name}.xml")
    convolution, rest = spent(tmp_path / "both.xml", "f32")
    assert convolution > 0
    assert rest > 0
    assert spent(tmp_path / "one.xml", "f32")[1] < rest
