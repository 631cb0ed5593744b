"""Starts, watches and ends one engine process."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from secrets import token_urlsafe

import aiohttp
import psutil

from serve.engines.cpu_priority import is_lowered
from serve.engines.end_reason import reason_in
from serve.engines.endpoint import EngineDown
from serve.engines.http.secret import HEADER, VARIABLE
from serve.engines.launch import Launch, child_environment
from serve.engines.warm_client import ForkedProcess, WarmedProcesses
from serve.ports import free_port, short_folder
from variants.artifacts.store import hold
from variants.errors import EngineError
from variants.machine import gpu_memory_bytes

log = logging.getLogger("understudy.engine")
START_LIMIT_S = 600.0
STOP_LIMIT_S = 15.0
HEALTH_LIMIT_S = 10.0
POLL_S = 0.1


def tree_pss(pid: int) -> int:
    """Proportional set size in bytes of a process and all below it: shared pages are counted once over all sharers."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss
    return total


def tree_pids(pid: int) -> set[int]:
    """The ids of a process and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    return set()


def tree_cpu_s(pid: int) -> float:
    """CPU-seconds that a process and all below it have used so far, those that have ended among them."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


class EngineProcess:
    """One engine on a loopback port. What it prints goes to `log`; what its predecessor printed is kept beside it.
    Where its launch allows it, one of `warmed` forks it."""

    def __init__(self, name: str, launch: Launch, log: Path, warmed: WarmedProcesses | None = None) -> None:
        self.name, self.launch, self.log, self.warmed = name, launch, log, warmed
        self.url, self.secret = "", token_urlsafe()
        self.peak_memory_bytes = 0
        self.peak_gpu_bytes: int | None = None
        self.process: asyncio.subprocess.Process | ForkedProcess | None = None
        self.sockets: tempfile.TemporaryDirectory[str] | None = None

    async def start(self) -> str:
        """Start it and wait until it is ready; gives its URL. Raises EngineError with the end of its log,
        IntegrityError when its artifact is gone."""
        port, self.peak_memory_bytes = free_port(), 0
        self.url = f"http://127.0.0.1:{port}"
        command = [part.replace("{port}", str(port)) for part in self.launch.command]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():  # an engine that is started again: why the last one ended stands there
            self.log.replace(self.log.with_name(f"{self.log.name}.previous"))
        self.remove_sockets()
        self.sockets = tempfile.TemporaryDirectory(prefix="understudy-engine-", dir=short_folder())
        own = {VARIABLE: self.secret, "UNDERSTUDY_LOG": self.log.name, "VLLM_RPC_BASE_PATH": self.sockets.name}
        with ExitStack() as stack:
            output = stack.enter_context(self.log.open("wb"))
            # Only the engine keeps the lock: it lasts exactly as long as its process, however that ends.
            held = stack.enter_context(hold(self.launch.artifact)) if self.launch.artifact else None
            self.process = await self.spawn(
                command, child_environment(self.launch.environment) | own, output.fileno(), held
            )
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await self.ready()
        except TimeoutError:
            await self.stop()
            raise EngineDown(f"the engine of {self.name} was not ready after {START_LIMIT_S:g} s", why="hung") from None
        except BaseException:
            await self.stop()
            raise
        return self.url

    async def warm_up(self) -> None:
        """Start the process that will fork it, if there is to be one and it does not run; it imports meanwhile."""
        if self.warmed is not None and self.launch.warm is not None:
            try:
                await self.warmed.prepare(self.launch.warm)
            except OSError as error:  # its command is run instead
                log.warning("no process is warmed for %s: %s", self.name, error)

    async def spawn(
        self, command: list[str], environment: dict[str, str], output: int, held: int | None
    ) -> asyncio.subprocess.Process | ForkedProcess:
        kept = () if held is None else (held,)
        if self.warmed is not None and self.launch.warm is not None:
            try:
                return await self.warmed.fork(self.launch.warm, command, environment, [output, *kept])
            except (EngineError, OSError) as error:
                log.warning("%s is started without a warmed process: %s", self.name, error)
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "serve.engines.parent_watch", *command,
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            env=environment,
            start_new_session=True,
            pass_fds=kept,
        )  # fmt: skip

    @property
    def headers(self) -> dict[str, str]:
        """What every request to it carries."""
        return {HEADER: self.secret}

    async def ready(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                self.check()
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"{self.url}/health", headers=self.headers) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(POLL_S)

    async def check_answers(self) -> None:
        """Raises EngineError if the process is gone, or lives but does not say in time that it is healthy. One that
        gives way to all others (`serve.engines.cpu_priority`) may have no time to say so."""
        self.check()
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HEALTH_LIMIT_S)) as session,
                session.get(f"{self.url}/health", headers=self.headers) as answer,
            ):
                fault = "" if answer.status == 200 else f"/health answers {answer.status}"
        except TimeoutError:
            if is_lowered(self.pid):
                return
            fault = f"/health did not answer within {HEALTH_LIMIT_S:g} s"
        except aiohttp.ClientError as error:
            fault = f"/health: {error}"
        if fault:
            raise EngineDown(
                f"the engine of {self.name} lives but is not healthy: {fault}", mend=f"see {self.log}", why="hung"
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def check(self) -> None:
        """Raises EngineError if the process is gone."""
        if self.process is None or self.process.returncode is not None:
            code = self.process.returncode if self.process else None
            raise EngineDown(
                f"the engine of {self.name} ended with code {code}: {reason_in(self.log, code)}",
                mend=f"see {self.log}",
            )

    @property
    def pid(self) -> int:
        """Of its first process. Raises EngineError if it is gone."""
        self.check()
        assert self.process is not None
        return self.process.pid

    def memory_bytes(self) -> int:
        """PSS of its process tree now; the peak is kept, and that of its memory on GPUs."""
        memory = tree_pss(self.process.pid) if self.process else 0
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory)
        if self.process and "CUDA_VISIBLE_DEVICES" in self.launch.environment:
            on_gpus = gpu_memory_bytes(tree_pids(self.process.pid))
            self.peak_gpu_bytes = max(on_gpus or 0, self.peak_gpu_bytes or 0) or None
        return memory

    def cpu_s(self) -> float:
        """CPU-seconds of its process tree so far."""
        return tree_cpu_s(self.process.pid) if self.process else 0.0

    async def stop(self) -> None:
        """End it and everything below it: politely, then not."""
        if self.process is None:
            return
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), STOP_LIMIT_S)
        # Where the engine itself is gone, its children may live on: they share its process group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):  # a stopped process that forked it does not tell of its end
            await asyncio.wait_for(self.process.wait(), STOP_LIMIT_S)
        self.remove_sockets()

    def remove_sockets(self) -> None:
        """Remove the folder of vLLM's sockets: vLLM leaves them when it is stopped."""
        if self.sockets is not None:
            self.sockets.cleanup()
            self.sockets = None
