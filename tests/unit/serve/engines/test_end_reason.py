"""What a person reads of an engine that ended."""

from pathlib import Path

import pytest

from serve.engines.end_reason import reason_in

VLLM = """\
(EngineCore pid=53) ERROR 12-01 11:09:15 [core.py:1510]   File "linear.py", line 1760, in weight_loader_v2
(EngineCore pid=53) ERROR 12-01 11:09:15 [core.py:1510] ValueError: the weights have another shape
Traceback (most recent call last):
  File "core.py", line 1482, in run_engine_core
ValueError: the weights have another shape
Traceback (most recent call last):
  File "entry.py", line 177, in run_server
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}
nanobind: leaked 4 instances!
 - ... skipped remainder
nanobind: this is likely caused by a reference counting issue in the binding code.
"""


@pytest.mark.parametrize(
    ("log", "code", "reason"),
    [
        (VLLM, 1, "ValueError: the weights have another shape"),
        ("Traceback\n  File x\ntorch.OutOfMemoryError: no memory\nbye\n", 1, "torch.OutOfMemoryError: no memory"),
        ("[core.py:1510] AssertionError\nbye\n", 1, "AssertionError"),
        ("one\ntwo\nthree\nfour\n", 1, "two | three | four"),
        ("ValueError: of a request\nan answer\n", -9, "ValueError: of a request | an answer"),
        ("", 1, ""),
    ],
)
def test_the_last_exception_or_the_last_lines(tmp_path: Path, log: str, code: int, reason: str) -> None:
    file = tmp_path / "engine.log"
    file.write_text(log)
    assert reason_in(file, code) == reason


def test_a_log_that_is_gone(tmp_path: Path) -> None:
    assert reason_in(tmp_path / "none.log", 1).startswith("its log cannot be read")
