"""Names and addresses of hosts: which ones a stack file may give, and which ones are on loopback. Pure."""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

LABEL = "[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?"
NAME = re.compile(rf"{LABEL}(\.{LABEL})*")
HEADER = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
"""A `Host` header in lower case: a name or an address, with or without a port."""
LONGEST = 253
DEFAULT_PORTS = {"http": "80", "https": "443"}


def check_host(host: str) -> str:
    """The host in lower case. Raises ValueError unless it is a name or an IP address, without a port."""
    lower = host.lower()
    if address_of(lower) is None and not (len(lower) <= LONGEST and NAME.fullmatch(lower)):
        raise ValueError("is not a host: give a name or an IP address, without a port")
    return lower


Host = Annotated[str, AfterValidator(check_host)]


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that `host` is, or None for a name. A zone (`fe80::1%eth0`) is not accepted."""
    if "%" in host:
        return None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`: `localhost`, names below it, 127.0.0.0/8 and ::1."""
    address = address_of(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback


def is_wildcard(host: str) -> bool:
    """Whether a server with this host listens on every address of the machine."""
    address = address_of(host)
    return address is not None and address.is_unspecified


def host_of(header: str) -> str | None:
    """The host of a `Host` header, without port, brackets and final dot. None if the header is not valid."""
    lower = header.strip().lower()
    if HEADER.fullmatch(lower) is None:
        return None
    host = lower[1:].partition("]")[0] if lower.startswith("[") else lower.partition(":")[0]
    return host.removesuffix(".") or None
