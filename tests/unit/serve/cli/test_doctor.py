"""What `understudy doctor` says of GPUs."""

from serve.cli.doctor import gpus_here, torch_on_gpu
from variants.machine import Gpu

L4 = Gpu("NVIDIA L4", 8.9, 24 * 2**30, 20 * 2**30, "550.54.15", "12.4")


def test_a_machine_without_a_gpu_has_nothing_to_say() -> None:
    assert list(gpus_here(())) == []


def test_a_gpu_is_named_with_memory_and_driver() -> None:
    gpu, torch = gpus_here((L4,))
    assert (gpu.what, gpu.ok) == ("GPU NVIDIA L4", True)
    assert gpu.detail == "24.0 GiB, compute capability 8.9, driver 550.54.15"
    assert not torch.needed


def test_a_driver_that_does_not_fit_torch_is_told_with_both_versions() -> None:
    old = torch_on_gpu(L4, "2.13.0", "13.0", available=False)
    assert (old.ok, old.mend) == (False, "install a driver for CUDA 13.0")
    assert old.detail == "torch 2.13.0 is built for CUDA 13.0, and driver 550.54.15 runs CUDA up to 12.4"
    plain = torch_on_gpu(L4, "2.13.0+cpu", None, available=False)
    assert "torch 2.13.0+cpu is built for CPUs" in plain.detail
    assert plain.mend == "make EXTRA=gpu environment"
    assert torch_on_gpu(L4, "2.13.0", "12.4", available=True).ok
