"""vLLM's own OpenAI server, as a module that its child processes can import cheaply.

vLLM on a CPU runs as three processes, the later two *spawned*, and a spawned process imports the main module again. As
`-m vllm.entrypoints.openai.api_server` that is the whole server, in processes that serve nobody; here it is this file.

Its processes talk through shared memory, and for a second after each message yield the processor in a loop in case
another comes. On a machine with a few cores that takes them from whoever computes, other engines too. They nap instead;
after that second they wait on a socket, as they do anyhow. Waiting there at once loses messages: vLLM's subscriber
keeps only the newest one, and libzmq may miss to wake for it (docs/decisions.md has both measurements).
"""

import time

from vllm.distributed.device_communicators import shm_broadcast

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


if __name__ == "__main__":
    from vllm.entrypoints.launchers.api_server.entry import main

    main()
