"""A finished campaign's folder, made up: two models of three variants each, with figures that are known."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from loadtest.results.records import LineWriter, Record, SliceWindow

OPENED = 1_795_000_000.0


@dataclass(frozen=True)
class Made:
    """One variant: bytes, tokens (or requests) a second, latency, and how many of the first examples it
    gets wrong.
    """

    variant: str
    precision: str
    size: int
    rate: float
    latency_s: float
    wrong: dict[str, int]


TEXT = (
    Made("baseline", "bf16", 269_060_552, 172.0, 2.98, {"rotten_tomatoes": 40, "r8": 74}),
    Made("int8", "w8a8", 163_110_464, 236.0, 2.17, {"rotten_tomatoes": 43, "r8": 95}),
    Made("nf4", "nf4", 118_200_320, 119.0, 4.30, {"rotten_tomatoes": 47, "r8": 78}),
)
PICTURES = (
    Made("baseline", "f32", 13_700_000, 61.0, 0.131, {"mnist": 12}),
    Made("bf16", "bf16", 6_900_000, 240.0, 0.033, {"mnist": 12}),
    Made("int8", "int8", 3_900_000, 418.0, 0.019, {"mnist": 15}),
)
EXAMPLES = {"rotten_tomatoes": 200, "r8": 200, "mnist": 1000}


def served(model: str, task: str, variants: tuple[Made, ...]) -> dict[str, object]:
    return {
        "model": model,
        "task": task,
        "variants": [
            {
                "variant": made.variant,
                "weight": 1.0,
                "ready": True,
                "method": "none" if made.variant == "baseline" else made.variant,
                "precision": made.precision,
                "parent": None if made.variant == "baseline" else "baseline",
                "engine": "scripted",
                "artifact_sha256": f"{made.size:064x}",
                "artifact_bytes": made.size,
                "memory_bytes": 2_000_000_000,
                "peak_memory_bytes": 2_400_000_000,
            }
            for made in variants
        ],
    }


def record(model: str, made: Made, **facts: object) -> Record:
    """A request that was answered; `facts` overrides anything."""
    fields: dict[str, object] = {
        "part": "accuracy",
        "model": model,
        "variant_asked": made.variant,
        "variant": made.variant,
        "reason": "pinned",
        "request_id": "request",
        "task": "mnist",
        "example": "example",
        "started": OPENED,
        "latency_s": made.latency_s,
        "status": 200,
    }
    return Record.model_validate(fields | facts)


def make(folder: Path) -> None:
    """Fill `folder` with what `run` leaves behind."""
    noise = random.Random(7)
    with (
        LineWriter[Record](folder / "records.jsonl") as records,
        LineWriter[SliceWindow](folder / "slices.jsonl") as slices,
    ):
        for model, variants in (("smollm2", TEXT), ("digits", PICTURES)):
            for made in variants:
                for task, wrong in made.wrong.items():
                    for index in range(EXAMPLES[task]):
                        example = f"{task}-{index}"
                        records.write(record(model, made, task=task, example=example, correct=index >= wrong))
                for index in range(3):
                    drift = 1 + noise.uniform(-0.02, 0.02)
                    for one in sliced(model, made, index, drift):
                        records.write(one)
                    slices.write(
                        SliceWindow(
                            model=model,
                            variant=made.variant,
                            slice=index,
                            clients=8,
                            opened=OPENED + 100 * index,
                            seconds=6.0,
                            load_cores=0.06,
                        )
                    )
    state = {
        "models": [
            served("smollm2", "text-generation", TEXT),
            served("digits", "image-classification", PICTURES),
        ],
        "machine": {"cpu": "x86-64, AVX-512", "cores": 2, "memory": "24 GiB"},
        "versions": {"understudy": "0.1.0", "vllm": "0.32.0", "torch": "2.13.0+cpu", "openvino": "2026.4"},
    }
    (folder / "server.json").write_text(json.dumps(state))
    about = {"started": "2026-11-23T16:00:00+00:00", "wall_s": 203.4, "campaign": {"name": "demo"}}
    (folder / "campaign.json").write_text(json.dumps(about))


def sliced(model: str, made: Made, index: int, drift: float) -> list[Record]:
    """A slice of 6 seconds in which exactly `rate` x `drift` tokens (text) or requests (pictures) a second
    came.
    """
    text = model == "smollm2"
    count = 16 if text else 100
    facts: dict[str, object] = {"part": "speed", "slice": index}
    if text:
        facts |= {"ttft_s": 0.3, "tpot_s": (made.latency_s - 0.3) / 63, "output_tokens": 64, "task": "rotten_tomatoes"}
    per_request = 6.0 * made.rate * drift / count
    return [
        record(
            model,
            made,
            **facts,
            example=f"speed-{index}-{number}",
            started=OPENED + 100 * index + 5.9 * number / count - made.latency_s * drift,
            latency_s=made.latency_s * drift * (1 + 0.02 * (number % 5)),
            slice_tokens=per_request if text else 0.0,
            slice_share=per_request / 64 if text else per_request,
        )
        for number in range(count)
    ]
