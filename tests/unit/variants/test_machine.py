import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from variants.machine import Gpu, available_memory_bytes, describe, gpu_memory_bytes, gpus, versions


def test_this_machine_is_described() -> None:
    machine = describe()
    assert machine.cores >= 1
    assert machine.memory_bytes > 2**28
    assert machine.cpu
    assert describe() == machine


def test_a_containers_limit_bounds_the_memory_that_is_available(tmp_path: Path) -> None:
    without = available_memory_bytes(tmp_path)
    assert without > 2**24
    (tmp_path / "memory.current").write_text("9000\n")
    (tmp_path / "memory.stat").write_text("anon 5000\ninactive_file 1500\nactive_file 300\n")
    (tmp_path / "memory.max").write_text("10000\n")
    assert available_memory_bytes(tmp_path) == 10_000 - 9_000 + 1_500 + 300
    (tmp_path / "memory.max").write_text("7000\n")
    assert available_memory_bytes(tmp_path) == 0
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory_bytes(tmp_path) > 2**24


def test_only_what_is_installed_has_a_version() -> None:
    installed = versions(("pydantic", "no-such-distribution"))
    assert list(installed) == ["pydantic"]
    assert installed["pydantic"].startswith("2.")


class Driver(ModuleType):
    """What `nvidia-ml-py` says on a machine with one GPU, which two processes use."""

    NVMLError = OSError

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54.15"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 12040

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA L4"

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return 8, 9

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=24 * 2**30, free=20 * 2**30)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in ((7, 2**30), (8, 2**31), (9, None))]


def test_a_gpu_is_described_as_its_driver_does(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert gpus() == (Gpu("NVIDIA L4", 8.9, 24 * 2**30, 20 * 2**30, "550.54.15", "12.4"),)
    assert describe().gpus == ("NVIDIA L4",)
    assert gpu_memory_bytes({7, 8, 100}) == 3 * 2**30
    assert gpu_memory_bytes({9}) is None
    assert driver.open == 0


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()

    def missing() -> None:
        raise OSError

    driver.nvmlInit = missing
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert gpus() == ()
    assert gpu_memory_bytes({7}) is None


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("0", 1), ("1", 0), ("GPU-8932", 1)])
def test_only_visible_gpus_are_counted(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert len(gpus()) == count


def test_a_gpu_that_does_not_say_what_it_is_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()

    def fail(handle: int) -> SimpleNamespace:
        raise driver.NVMLError

    monkeypatch.setattr(driver, "nvmlDeviceGetMemoryInfo", fail)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert gpus() == ()
