"""No library reports what is done here."""

import os
import subprocess
import sys
from pathlib import Path

CONVERT = """
import variants
import nncf, numpy as np, openvino as ov, torch
from nncf.telemetry.wrapper import telemetry
example = torch.ones(1, 2)
ov.convert_model(torch.nn.Linear(2, 2), example_input=example)
from openvino.tools.ovc.convert_impl import tm
print(tm.__name__, type(telemetry).__name__)
"""


def test_openvino_and_nncf_leave_nothing_in_the_home_and_have_nothing_to_report_with(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path)}
    for name in ("CI", "NNCF_CI", "NNCF_DEV"):
        environment.pop(name, None)
    ran = subprocess.run([sys.executable, "-c", CONVERT], env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "MagicMock"]
    assert not (tmp_path / "intel").exists()
