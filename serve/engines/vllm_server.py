"""vLLM's own OpenAI server, started cheaply on a CPU.

vLLM on a CPU is three processes: a server, an engine core and a worker. vLLM spawns the later two there, and each
imports torch and vLLM again, more than half of what a start costs. Here they are forked, as on other hardware;
docs/decisions.md has what that saves and why it is safe. A forked process also holds its parent's listening socket,
so it must not outlive it.

Its processes talk through shared memory, and for a second after each message yield the processor in a loop in case
another comes. On a machine with a few cores that takes them from whoever computes, other engines too. They nap instead;
after that second they wait on a socket, as they do anyhow. Waiting there at once loses messages: vLLM's subscriber
keeps only the newest one, and libzmq may miss to wake for it (docs/decisions.md has both measurements).
"""

import functools
import multiprocessing
import os
import signal
import sys
import time
from typing import Any

from serve.engines.server import hide_packages
from serve.engines.tether import end_with_parent

hide_packages()
sys.modules["scipy"] = None  # type: ignore[assignment]  # for sound and images, and 8 % of what importing costs

import torch  # noqa: E402
from vllm.distributed.device_communicators import shm_broadcast  # noqa: E402
from vllm.platforms import current_platform  # noqa: E402
from vllm.utils import system_utils  # noqa: E402

from serve.engines import vllm_fbgemm  # noqa: E402
from serve.engines.vllm_int4 import use_vnni  # noqa: E402
from serve.engines.vllm_kernels import use_kernels  # noqa: E402
from variants.machine import multiplies_bfloat16  # noqa: E402

NAP_S = 0.0002
"""Short against a step of a model, some 20 ms and more; long against what waking up costs."""


class Napping(shm_broadcast.SpinCondition):
    """vLLM has no setting for it."""

    def wait(self, timeout_ms: int | None = None) -> None:
        if time.monotonic() <= self.last_read + self.busy_loop_s:
            time.sleep(NAP_S)
        else:
            super().wait(timeout_ms)


shm_broadcast.SpinCondition = Napping  # type: ignore[misc]
new_group, destroy_group = torch.distributed.new_group, torch.distributed.destroy_process_group


def alone() -> bool:
    return bool(torch.distributed.is_initialized() and torch.distributed.get_world_size() == 1)


def group_of_one(*asked: Any, **how: Any) -> Any:
    """vLLM makes thirteen groups of its one worker, and each has a thread that looks for messages a hundred times a
    second. Whoever is in one process is in the same group."""
    return torch.distributed.group.WORLD if alone() else new_group(*asked, **how)


def destroy_group_of_one(group: Any = None) -> None:
    """It goes with all of them, at the end, and not with the first that vLLM is done with."""
    if group is None or not alone():
        destroy_group(group)


if current_platform.is_cpu():
    torch.distributed.new_group, torch.distributed.destroy_process_group = group_of_one, destroy_group_of_one
    use_kernels()
    if vllm_fbgemm.is_needed():
        vllm_fbgemm.use_fbgemm()
    else:
        use_vnni()
    # vLLM sets VLLM_WORKER_MULTIPROC_METHOD=spawn itself, too late for anyone else to have a say.
    system_utils.get_mp_context = functools.partial(multiprocessing.get_context, "fork")
    os.register_at_fork(after_in_child=functools.partial(end_with_parent, signal.SIGKILL))


if __name__ == "__main__":
    if current_platform.is_cpu() and not multiplies_bfloat16():
        sys.argv += ["--dtype", "float32"]
    from vllm.entrypoints.launchers.api_server.entry import main

    main()
