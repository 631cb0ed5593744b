"""What the engines that answer in v2's tensors share: their answers, their statistics, the outputs they offer."""

from collections.abc import Sequence

from starlette.responses import JSONResponse, Response

from serve.open_inference import HEADER_LENGTH, InferRequest
from variants.errors import InputError


def tensors(body: bytes, header_length: int | None) -> Response:
    """An encoded answer; `header_length` is that of its JSON head where binary tensors follow one."""
    if header_length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(header_length)})


def statistics(name: str, examples: int, passes: int, computed_ns: int) -> Response:
    """What was computed since the start, as v2's statistics extension has it: examples, passes, their time."""
    found = {
        "name": name,
        "version": "",
        "inference_count": examples,
        "execution_count": passes,
        "inference_stats": {"compute_infer": {"count": passes, "ns": computed_ns}},
    }
    return JSONResponse({"model_stats": [found]})


def check_outputs(asked: InferRequest, offered: Sequence[str], ranked: str | None = None) -> None:
    """Refuse unknown outputs before the work is done, and v2's classification for any but `ranked`."""
    for i, requested in enumerate(asked.outputs):
        if requested.classification is not None and requested.name != ranked:
            mend = f"only for the output {ranked!r}" if ranked else "leave it out"
            raise InputError("not offered", field=f"outputs[{i}].parameters.classification", mend=mend)
        if requested.name not in offered:
            mend = ", ".join(offered)
            raise InputError(f"no output {requested.name!r}", field=f"outputs[{i}].name", mend=mend)
