"""vLLM's own OpenAI server, started cheaply on a CPU. On a GPU it is started as vLLM starts it.

vLLM on a CPU is three processes: a server, an engine core and a worker. It spawns the later two there, and each imports
torch and vLLM again, more than half of what a start costs. Here the core is forked, as on other hardware;
docs/decisions.md has what that saves and why it is safe. A forked process also holds its parent's listening socket,
so it must not outlive it.

And the core is its own worker, as on other hardware. vLLM has a process for it on a CPU because it binds the worker's
threads to cores, which is not done here. Between two processes each step of the model waits for messages both ways.
"""

import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from serve.engines.http.server import hide_packages
from serve.engines.parent_watch import end_with_parent

hide_packages()
if not os.environ.get("CUDA_VISIBLE_DEVICES"):
    sys.modules["scipy"] = None  # type: ignore[assignment]  # for sound and images, and 8 % of what importing costs

import torch  # noqa: E402
from vllm.config import VllmConfig  # noqa: E402
from vllm.model_executor.models import registry  # noqa: E402
from vllm.platforms import current_platform  # noqa: E402
from vllm.utils import system_utils  # noqa: E402

from serve.engines.vllm.detokenizer import use_detokenizer  # noqa: E402
from serve.engines.vllm.sampling import allow_several_greedy  # noqa: E402
from variants.machine import multiplies_bfloat16  # noqa: E402

T = TypeVar("T")
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


def ask_here(fn: Callable[[], T]) -> T:
    """Answers in this process what vLLM asks of a model's class. vLLM starts a process for it, which imports all of
    vLLM once more, so that no GPU is in use before the core is forked. On a CPU no GPU can be in use."""
    return fn()


def work_in_core(check: Callable[[VllmConfig], None], config: VllmConfig) -> None:
    """Once the CPU's platform has checked `config`, which may name another executor by then."""
    check(config)
    if config.parallel_config.world_size == 1:
        config.parallel_config.distributed_executor_backend = "uni"


def use_cpu_kernels() -> None:
    """The products for CPUs. On a GPU vLLM has its own, and these modules are not imported."""
    from serve.engines.vllm import fbgemm
    from serve.engines.vllm.int4 import use_vnni
    from serve.engines.vllm.kernels import use_kernels
    from serve.engines.vllm.nf4 import use_packed_kernel

    use_kernels()
    use_packed_kernel()
    if fbgemm.is_needed():
        fbgemm.use_fbgemm()
    else:
        use_vnni()


use_detokenizer()
allow_several_greedy()
if current_platform.is_cpu():
    current_platform.check_and_update_config = functools.partial(  # type: ignore[method-assign]
        work_in_core, current_platform.check_and_update_config
    )
    torch.distributed.new_group, torch.distributed.destroy_process_group = group_of_one, destroy_group_of_one
    registry._run_in_subprocess = ask_here
    use_cpu_kernels()
    # vLLM sets VLLM_WORKER_MULTIPROC_METHOD=spawn itself, too late for anyone else to have a say.
    system_utils.get_mp_context = functools.partial(multiprocessing.get_context, "fork")
    os.register_at_fork(after_in_child=functools.partial(end_with_parent, signal.SIGKILL))


def main() -> None:
    """Serve with vLLM's own command line, until SIGTERM."""
    if current_platform.is_cpu() and not multiplies_bfloat16():
        sys.argv += ["--dtype", "float32"]
    from vllm.entrypoints.launchers.api_server import entry

    entry.main()


if __name__ == "__main__":
    main()
