"""Keeps libraries from reporting to their makers what is built and served here.

OpenVINO and NNCF report by default each conversion and each compression, start threads for it, and keep an identity in
the user's home. Both work without the package that reports. Ray's and vLLM's reports are off by their own settings
(`serve.cluster.ray_environment`, `serve.engines.launch`).
"""

import os
import sys


def no_reports() -> None:
    """Must be called before the first import of OpenVINO. The user's own setting for the hub is kept."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: the import fails
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
