"""What a server says of the readiness of its models."""

import json
import urllib.error
import urllib.request
from typing import Any


def readiness_of(url: str) -> dict[str, dict[str, Any]]:
    """By model, what `/v2/health/ready` of the server at `url` says; empty while its ingress does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5) as answer:  # noqa: S310
            body = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()
    except OSError:
        return {}
    try:
        models = json.loads(body).get("models", {})  # without an ingress, HAProxy answers with an error
    except ValueError:
        return {}
    return models if isinstance(models, dict) else {}
