"""The `server` part of a stack file: address, limits, keys, and who is told of what."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from serve.config.resources import LogicalGpus
from serve.config.server.api_keys import Key
from serve.config.server.cross_origin import Cors
from serve.config.server.hosts import Host
from serve.config.server.traces import Traces
from serve.config.server.webhook import Webhook
from variants.document import Document, Name, Number, Whole, absent


class Server(Document):
    """The address of the server, its limits, and its API keys. The default address is on loopback."""

    host: Host = "127.0.0.1"
    port: Whole = Field(default=8000, ge=1, le=65535)
    hosts: tuple[Host, ...] = Field(
        default=(), max_length=64, description="further names and addresses that clients call the server by"
    )
    grpc_port: Whole | None = Field(default=None, ge=1, le=65535, description="v2 over gRPC; none: not served")
    body_limit_mib: Whole = Field(default=32, ge=1, le=1024, description="larger request bodies are answered 413")
    memory_in_flight_mib: Whole | None = Field(
        default=None,
        ge=1,
        description="memory of the requests and replays in work, in each ingress; more are answered 429;"
        " none: 256, or four of the largest bodies",
    )
    drain_s: Number = Field(default=30.0, ge=0, le=3600, description="longest wait for open requests at the end")
    access_log: bool = Field(default=False, strict=True, description="one line a request in the state folder's logs")
    console: bool = Field(default=True, strict=True, description="web pages for operators at /")
    memory_mib: Whole | None = Field(
        default=None, ge=1, description="memory limit of all engines; none: the free memory"
    )
    logical_gpus: LogicalGpus | None = Field(default=None, exclude_if=absent, description="for tests and dry runs")
    keys: dict[Name, Key] | None = Field(
        default=None, description="API keys by name; left out: those that a running server has, else none"
    )
    cors: Cors = Field(default=Cors(), description="web pages that may call the server from a browser; none by default")
    traces: Traces | None = Field(
        default=None, exclude_if=absent, description="where spans of requests are sent; none: nothing is traced"
    )
    webhook: Webhook | None = Field(
        default=None, exclude_if=absent, description="address that is told about every verdict on a rollout"
    )

    @model_validator(mode="after")
    def check_memory_in_flight(self) -> Self:
        least = 2 * self.body_limit_mib
        if self.memory_in_flight_mib is not None and self.memory_in_flight_mib < least:
            raise ValueError(
                f"memory_in_flight_mib is below {least}, twice body_limit_mib: raise it to {least} or more"
            )
        return self

    @property
    def bytes_in_flight(self) -> int:
        """The bytes that requests and replays in work may hold together, in each ingress."""
        return (self.memory_in_flight_mib or max(256, 4 * self.body_limit_mib)) * 2**20

    @field_validator("keys")
    @classmethod
    def check_keys(cls, keys: dict[Name, Key] | None) -> dict[Name, Key] | None:
        hashes = [each for key in (keys or {}).values() for each in key.sha256]
        if len(set(hashes)) < len(hashes):
            raise ValueError("two names have the same key")
        return keys
