"""`make bench-hostile`: what one hostile client does to the others.

The server runs on scripted engines, which make a token every 20 ms, so every longer pause of a stream is the server's.
A few clients stream in a process of their own, while this process attacks in six ways. For each attack the table has
the answers that the attacker got, the longest pause between two tokens of any other client, and the memory of the
ingress. At the end, clients leave, and their places are waited for. It takes about two minutes. On a machine with few
cores, attacker and streams also wait for each other.
"""

import argparse
import asyncio
import gzip
import io
import json
import multiprocessing
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
from PIL import Image

from loadtest.benchmarks.figures import write_figures
from loadtest.benchmarks.leaving import Leaving, measure_leaving
from loadtest.errors import LoadError
from loadtest.harness import ROOT, ends_in_words
from serve.ports import free_port
from serve.protocols.open_inference import bytes_tensor, encode_request
from variants.machine import describe

MIB = 2**20
BOUND_S = 0.25
"""The longest pause that the project allows itself, on a machine that has a free core for the attacker."""
TOKEN = b'"text"'
VARIANT, PLACES = "echo@int8", 64
"""A variant of the scripted stack, and its `limits.concurrency`."""
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Plan:
    """How many of each: streaming clients, idle sockets, large bodies, images in a batch, clients that leave, and
    the length of the quiet times in seconds."""

    streams: int = 8
    bombs: int = 20
    idle: int = 4100
    bodies: int = 300
    body_mib: int = 32
    images: int = 2048
    choices: int = 16_384
    quiet_s: float = 5.0
    leaving: int = 50


@dataclass
class Attack:
    """What one attack did. `answers` counts statuses; `none` stands for a connection that ended without one."""

    name: str
    answers: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    longest_pause_s: float = 0.0
    tokens: int = 0
    ingress_mib: int = 0
    probe_s: float = 0.0


Sent = Callable[[], Awaitable[Iterable[str]]]
Shared = tuple["Synchronized[float]", "Synchronized[int]"]
"""The longest pause in seconds and the number of tokens, since they were last set to 0."""


async def stream_on(url: str, clients: int, shared: Shared) -> None:
    """Stream with `clients` clients without end, and note the longest pause between two tokens of one stream."""
    pause, tokens = shared
    asked = {"model": "echo", "prompt": "a b c d", "max_tokens": 1000, "ignore_eos": True, "stream": True}

    async def one(session: aiohttp.ClientSession) -> None:
        while True:
            async with session.post(f"{url}/v1/completions", json=asked) as answer:
                last = None
                async for line in answer.content:
                    if TOKEN not in line:
                        continue
                    now = time.perf_counter()
                    if last is not None:
                        pause.value = max(pause.value, now - last)
                    tokens.value += 1
                    last = now

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        await asyncio.gather(*(one(session) for _ in range(clients)))


@contextmanager
def streaming(url: str, clients: int) -> Iterator[Shared]:
    """A process of so many clients that stream without end, from their first token on. Raises LoadError where they get
    none."""
    context = multiprocessing.get_context("spawn")
    pause, tokens = context.Value("d", 0.0), context.Value("i", 0)
    process = context.Process(target=stream_in_process, args=(url, clients, pause, tokens), daemon=True)
    process.start()
    try:
        deadline = time.monotonic() + 60
        while not tokens.value:
            if time.monotonic() > deadline or not process.is_alive():
                raise LoadError("no client could stream", mend="see the server's log")
            time.sleep(0.1)
        yield pause, tokens
    finally:
        process.terminate()
        process.join()


def stream_in_process(url: str, clients: int, pause: "Synchronized[float]", tokens: "Synchronized[int]") -> None:
    """The process of the streaming clients."""
    asyncio.run(stream_on(url, clients, (pause, tokens)))


def ingress_mib(pid: int) -> int:
    """Resident memory of the server's ingress processes, in MiB."""
    total = 0
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            words = child.cmdline()
            if words and words[0].startswith("ray::ServeReplica:ingress"):
                total += child.memory_info().rss
    return total // MIB


async def post(url: str, path: str, body: bytes, **headers: str) -> str:
    """The status of the answer to one request, as text; the rest of the answer is not read."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    limit = aiohttp.ClientTimeout(total=120)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.post(url + path, data=io.BytesIO(body), headers=JSON | named) as answer,
        ):
            return str(answer.status)
    except (aiohttp.ClientError, TimeoutError):
        return "none"


async def send_raw(url: str, body: bytes) -> str:
    """Send a large body from one buffer and stop at the answer, which may come before the body's end."""
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"

    async def send() -> None:
        writer.write(head.encode())
        for start in range(0, len(body), MIB):
            writer.write(memoryview(body)[start : start + MIB])
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(120):
            line = await reader.readline()
        return line.split()[1].decode() if line else "none"
    except (OSError, TimeoutError):
        return "none"
    finally:
        sending.cancel()
        await asyncio.wait([sending])
        if not sending.cancelled():
            sending.exception()  # the connection may have ended under it
        writer.transport.abort()


async def bombs(url: str, plan: Plan) -> Iterable[str]:
    """30 kB of gzip that inflate to 32 MiB of nested lists."""
    bomb = gzip.compress(b"[" * plan.body_mib * MIB)
    return await asyncio.gather(
        *(post(url, "/v1/completions", bomb, content_encoding="gzip") for _ in range(plan.bombs))
    )


async def idle_sockets(url: str, plan: Plan) -> Iterable[str]:
    """Connections that say nothing; the answer to each is its end within 30 s."""
    at = urlsplit(url)

    async def one() -> str:
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        try:
            async with asyncio.timeout(30):
                line = await reader.readline()
            return line.split()[1].decode() if line else "closed"
        except TimeoutError:
            return "open after 30 s"
        except OSError:
            return "closed"
        finally:
            writer.transport.abort()

    return await asyncio.gather(*(one() for _ in range(plan.idle)))


async def large_bodies(url: str, plan: Plan) -> Iterable[str]:
    """Bodies that are just below the limit, all at once."""
    text = b'{"model": "echo", "prompt": "' + b"a" * (plan.body_mib * MIB - 64) + b'"}'
    return await asyncio.gather(*(send_raw(url, text) for _ in range(plan.bodies)))


async def many_choices(url: str, plan: Plan) -> Iterable[str]:
    """One request for thousands of answers."""
    asked = {"model": "echo", "prompt": "a b c d", "n": plan.choices, "max_tokens": 1000}
    return [await post(url, "/v1/completions", json.dumps(asked).encode())]


async def large_images(url: str, plan: Plan) -> Iterable[str]:
    """A batch of small files that are pictures of 50 megapixels each."""
    file = io.BytesIO()
    Image.new("1", (7100, 7100)).save(file, "PNG")
    batch = bytes_tensor("image", [file.getvalue()] * plan.images)
    body, head = encode_request([batch], binary=True)
    return [await post(url, "/v2/models/bands/infer", body, inference_header_content_length=str(head))]


async def stopped_reader(url: str, plan: Plan) -> Iterable[str]:
    """A client that asks for a stream and never reads it."""
    at = urlsplit(url)
    asked = {"model": "echo", "prompt": "a b c d", "max_tokens": 1000, "ignore_eos": True, "stream": True}
    body = json.dumps(asked).encode()
    _, writer = await asyncio.open_connection(at.hostname, at.port, limit=1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await asyncio.sleep(plan.quiet_s)
    writer.transport.abort()
    return ["not read"]


ATTACKS: dict[str, Callable[[str, Plan], Awaitable[Iterable[str]]]] = {
    "gzip bomb": bombs,
    "idle sockets": idle_sockets,
    "large bodies": large_bodies,
    "many answers": many_choices,
    "large images": large_images,
    "stopped reader": stopped_reader,
}


async def quiet(url: str, plan: Plan) -> Iterable[str]:
    """No attack, for comparison."""
    await asyncio.sleep(plan.quiet_s)
    return []


async def probe(url: str) -> float:
    """Seconds until both health and metrics have answered. Raises LoadError where one does not."""
    began = time.perf_counter()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        for path in ("/v2/health/ready", "/metrics"):
            async with session.get(url + path) as answer:
                if answer.status != 200:
                    raise LoadError(f"{path} answered {answer.status}", mend="see the server's log")
    return time.perf_counter() - began


async def measure_attack(url: str, pid: int, plan: Plan, name: str, shared: Shared) -> Attack:
    """Attack once, with a probe each second meanwhile."""
    attack, (pause, tokens) = Attack(name), shared
    pause.value, tokens.value = 0.0, 0
    began = time.perf_counter()
    work = asyncio.ensure_future(ATTACKS.get(name, quiet)(url, plan))
    while not work.done():
        await asyncio.wait([work], timeout=1.0)
        attack.probe_s = max(attack.probe_s, round(await probe(url), 3))
        attack.ingress_mib = max(attack.ingress_mib, ingress_mib(pid))
    attack.answers = dict(Counter(await work))
    await asyncio.sleep(0.5)
    attack.seconds = round(time.perf_counter() - began, 1)
    attack.longest_pause_s, attack.tokens = round(pause.value, 3), tokens.value
    return attack


async def measure(url: str, pid: int, plan: Plan, shared: Shared) -> list[Attack]:
    """All attacks, one after the other, with a quiet time before them and after them."""
    names = ["quiet before", *ATTACKS, "quiet after"]
    return [await measure_attack(url, pid, plan, name, shared) for name in names]


def run(url: str, pid: int, plan: Plan) -> list[Attack]:
    """Attack a running server of scripted engines whose process is `pid`, beside streaming clients."""
    with streaming(url, plan.streams) as shared:
        return asyncio.run(measure(url, pid, plan, shared))


def table(attacks: Iterable[Attack], plan: Plan) -> str:
    """The result as text, with the machine and the plan."""
    machine = describe()
    lines = [
        f"{machine.cpu}, {machine.cores} cores; {asdict(plan)}",
        f"{'attack':16}{'answers':34}{'longest pause':>14}{'ingress':>10}{'health+metrics':>16}{'time':>8}",
    ]
    for each in attacks:
        answers = ", ".join(f"{count} x {answer}" for answer, count in sorted(each.answers.items()))
        mark = " " if each.longest_pause_s <= BOUND_S else "!"
        lines.append(
            f"{each.name:16}{answers:34}{each.longest_pause_s * 1e3:10.0f} ms{mark}{each.ingress_mib:6} MiB"
            f"{each.probe_s * 1e3:13.0f} ms{each.seconds:6.1f} s"
        )
    return "\n".join([*lines, f"! above {BOUND_S * 1e3:g} ms"])


def sentence(leaving: Leaving) -> str:
    return (
        f"a client that leaves frees its place in {leaving.median_s * 1e3:.0f} ms (median), at most "
        f"{leaving.longest_s * 1e3:.0f} ms (n = {leaving.n}; a request alone takes {leaving.alone_s * 1e3:.0f} ms)"
    )


def start_scripted(children: ExitStack, home: Path, *settings: str) -> tuple[str, int]:
    """Start the server of the tests over scripted engines. Gives its URL and its pid. Raises LoadError where it does
    not start."""
    command = [sys.executable, "-m", "tests.support.serve_scripted", str(free_port()), *settings]
    environment = dict(psutil.Process().environ(), UNDERSTUDY_HOME=str(home))
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    children.callback(server.wait)
    children.callback(server.terminate)
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        raise LoadError("the server did not start", mend="see its messages above")
    return json.loads(line)["url"], server.pid


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what one hostile client does to the others.")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "hostile")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    out, plan = given.out.resolve(), Plan()
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as children:
        url, pid = start_scripted(children, out / "home", "token_s=0.02")
        attacks = run(url, pid, plan)
        leaving = asyncio.run(measure_leaving(url, VARIANT, PLACES, plan.leaving))
    figures: dict[str, Any] = {"plan": asdict(plan), "attacks": [asdict(each) for each in attacks]}
    figures["leaving"] = asdict(leaving)
    write_figures(out / "hostile.json", figures)
    print(json.dumps(figures) if given.json else f"{table(attacks, plan)}\n{sentence(leaving)}")


if __name__ == "__main__":
    with ends_in_words("bench-hostile"):
        main()
