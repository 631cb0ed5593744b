"""Warmed processes, and the engines that they fork: see `serve.engines.warm`.

There is one for each set of modules and settings that are read at import. It is started when the first engine asks for
it, and again when it has ended. An engine of a warmed process ends with it, and its supervisor starts it again.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from serve.engines.launch import Warm, child_environment
from serve.engines.warm import PACKET_BYTES
from variants.errors import EngineError

FORK_LIMIT_S = 300.0
"""It may still import, on a machine that has much to do."""
GONE = -signal.SIGTERM
"""The exit code of an engine whose warmed process has ended."""


class ForkedProcess:
    """An engine that a warmed process forked, with what `asyncio.subprocess.Process` has for one of our own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.ended = asyncio.Event()

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        await self.ended.wait()
        assert self.returncode is not None
        return self.returncode

    def end(self, code: int) -> None:
        self.returncode = code
        self.ended.set()


class WarmedProcess:
    """One of them, and its engines. Requires a running event loop."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self.process, self.control = process, control
        self.engines: dict[int, ForkedProcess] = {}
        self.asked: list[asyncio.Future[ForkedProcess]] = []
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(control, self.read)
        self.ended = asyncio.create_task(process.wait())

    @property
    def running(self) -> bool:
        return self.control.fileno() != -1

    def read(self) -> None:
        """Every packet that has come, in order: an engine is named before its end."""
        while self.running:
            try:
                packet = self.control.recv(PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self.close()
                return
            said = json.loads(packet)
            if "failed" in said:
                asked = self.asked.pop(0)
                if not asked.done():
                    asked.set_exception(EngineError(f"the warmed process cannot fork: {said['failed']}"))
            elif "started" in said:
                engine = self.engines[said["started"]] = ForkedProcess(said["started"])
                asked = self.asked.pop(0)
                if asked.done():  # nobody waits for it any more
                    engine.kill()
                else:
                    asked.set_result(engine)
            elif (ended := self.engines.pop(said["ended"], None)) is not None:
                ended.end(said["code"])

    async def fork(self, command: Sequence[str], environment: Mapping[str, str], files: list[int]) -> ForkedProcess:
        """Raises EngineError if it has ended, cannot fork, or does not do so in time."""
        asked = self.loop.create_future()
        request = json.dumps({"command": command, "environment": dict(environment)}).encode()
        try:
            socket.send_fds(self.control, [request], files)
        except OSError as error:
            raise EngineError(f"the warmed process does not take an engine: {error}") from error
        self.asked.append(asked)
        try:
            async with asyncio.timeout(FORK_LIMIT_S):
                return await asked
        except TimeoutError:
            if not self.engines:
                self.close()
            raise EngineError(f"the warmed process has not forked within {FORK_LIMIT_S:g} s") from None

    def close(self) -> None:
        """End it, and with it its engines."""
        if not self.running:
            return
        self.loop.remove_reader(self.control)
        self.control.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        for engine in self.engines.values():
            engine.end(GONE)
        for asked in self.asked:
            if not asked.done():
                asked.set_exception(EngineError("the warmed process has ended"))


class WarmedProcesses:
    """Those of one process. What they print goes to `logs`."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.by_what: dict[Warm, WarmedProcess] = {}
        self.starting = asyncio.Lock()

    async def fork(
        self, what: Warm, command: Sequence[str], environment: Mapping[str, str], files: list[int]
    ) -> ForkedProcess:
        """Raises EngineError if the warmed process ends before it has forked the engine."""
        return await (await self.prepare(what)).fork(command, environment, files)

    async def prepare(self, what: Warm) -> WarmedProcess:
        """The warmed process, which may still import: what it is asked for waits until it has."""
        async with self.starting:
            warmed = self.by_what.get(what)
            if warmed is None or not warmed.running:
                warmed = self.by_what[what] = await self.start(what)
            return warmed

    async def start(self, what: Warm) -> WarmedProcess:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET_BYTES)
        self.logs.mkdir(parents=True, exist_ok=True)
        path = self.logs / f"{what.name}.log"
        if path.exists():  # why the last one ended stands there
            path.replace(path.with_name(f"{path.name}.previous"))
        with its, path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "serve.engines.parent_watch",
                sys.executable, "-m", "serve.engines.warm", str(its.fileno()), *what.modules,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env=child_environment(dict(what.environment)),
                start_new_session=True,
                pass_fds=(its.fileno(),),
            )  # fmt: skip
        return WarmedProcess(process, ours)

    async def close_idle(self) -> None:
        """End those that have no engine and are asked for none."""
        for what, warmed in list(self.by_what.items()):
            if not warmed.engines and all(asked.done() for asked in warmed.asked):
                del self.by_what[what]
                warmed.close()
                await warmed.ended

    async def close(self) -> None:
        """End them and wait until they have ended."""
        for warmed in self.by_what.values():
            warmed.close()
            await warmed.ended
