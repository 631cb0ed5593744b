"""A method: keep the first bytes of the source. It writes below `job.out`, which the engine gets."""

from pydantic import Field

from variants.document import Document
from variants.methods.base import BuildJob, MethodResult
from variants.methods.plugin import MethodPlugin


class Options(Document):
    bytes: int = Field(gt=0)


def keep(job: BuildJob, options: Options) -> MethodResult:
    (job.out / "weights").write_bytes(job.source.read_bytes()[: options.bytes])
    note = f"the first {options.bytes} bytes of the source"
    return MethodResult("f32", "huggingface", note, packages=("understudy-keep",))


KEEP = MethodPlugin(tasks=("text-generation",), build=keep, options=Options, starts_from="source")
