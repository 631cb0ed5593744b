"""What engines ask of the machine: GPUs, cores, memory. Ray keeps account of it (`serve.cluster.deployer`)."""

import operator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from variants.document import Document

UTILIZATION = 0.92
"""The part of a GPU that vLLM takes by default where it is alone. An engine with a share takes this part of its share:
the rest is for the driver and for CUDA graphs."""


def share(gpus: float) -> float:
    """Raises ValueError for a number above 1 that is not whole."""
    if gpus > 1 and gpus % 1:
        raise ValueError(
            f"{gpus:g} is neither a share of one GPU nor whole: up to 1, or 2, 3, ... for tensor parallelism"
        )
    return gpus


class Resources(Document):
    """What Ray reserves for one engine, 0 for nothing. `gpus` is a share of one GPU up to 1, or a whole number of
    GPUs."""

    gpus: Annotated[float, Field(strict=True, ge=0, le=64), AfterValidator(share)] = 0
    cpus: Annotated[float, Field(strict=True, ge=0, le=1024, description="cores")] = 0
    memory_mib: Annotated[int, Field(strict=True, ge=0)] = 0


NOTHING = Resources()


def on_cpu(asked: Resources) -> Resources:
    """For engines that have no GPU. Raises ValueError for a share of one."""
    if asked.gpus:
        raise ValueError("openvino runs on the CPU alone: leave gpus out")
    return asked


def on_one_gpu(asked: Resources) -> Resources:
    """For engines that split no model. Raises ValueError for more than one GPU."""
    if asked.gpus > 1:
        raise ValueError(f"torch uses one GPU, not {asked.gpus:g}: gpus: 1, or less")
    return asked


# Left out of the JSON where nothing is asked for, so that older settings keep their digests.
Asked = Annotated[Resources, Field(exclude_if=NOTHING.__eq__, description="what Ray reserves: gpus, cpus, memory_mib")]
AskedOfCpu = Annotated[Asked, AfterValidator(on_cpu)]
AskedOfOneGpu = Annotated[Asked, AfterValidator(on_one_gpu)]

Eager = Annotated[
    bool, Field(strict=True, exclude_if=operator.not_, description="no CUDA graphs on a GPU; a CPU has none")
]
CacheDtype = Annotated[
    Literal["auto", "fp8"], Field(exclude_if="auto".__eq__, description="of the key-value cache, on a GPU")
]


class LogicalGpus(Document):
    """GPUs of Ray's that stand in where there is none, for tests and dry runs. `memory_mib` is that of each."""

    count: Annotated[int, Field(strict=True, ge=1, le=64)]
    memory_mib: Annotated[int, Field(strict=True, ge=1)]
