"""Plug-ins for tests: the templates of docs/plugins, built and installed, and plug-ins that are written for a test."""

import importlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path

from serve.config.engine_plugin import engine_plugin
from variants import plugins
from variants.methods.plugin import method_plugin
from variants.metrics.answer_scores import scorer
from variants.tasks.plugin import plugin_class

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "docs" / "plugins"


def install_templates(folder: Path) -> Path:
    """The folder that the four templates are installed in, from wheels that are built of them without a network."""
    sources, wheels, site = folder / "sources", folder / "wheels", folder / "site"
    shutil.copytree(TEMPLATES, sources)  # a build leaves files beside the sources
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index")
    projects = sorted(str(project.parent) for project in sources.glob("*/pyproject.toml"))
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", str(wheels), *projects], check=True)
    subprocess.run([*pip, "install", *offline, "--target", str(site), *map(str, wheels.glob("*.whl"))], check=True)
    return site


def write_plugin(site: Path, distribution: str, group: str, name: str, code: str, target: str = "it") -> None:
    """Install a distribution of version 1.0 with one entry point into `site`, as pip would: a module and metadata."""
    module = distribution.replace("-", "_")
    (site / f"{module}.py").write_text(code)
    metadata = site / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[understudy.{group}]\n{name} = {module}:{target}\n")


@contextmanager
def installed_in(site: Path) -> Iterator[None]:
    """Inside, this process has the plug-ins that are installed in `site`."""
    sys.path.insert(0, str(site))
    forget()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        for path in site.glob("*.py"):
            sys.modules.pop(path.stem, None)
        forget()


def declared(group: str) -> list[EntryPoint]:
    """The project's own entry points of a group, as pyproject.toml has them, whatever is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [EntryPoint(name, value, group) for name, value in project["entry-points"][group].items()]


def forget() -> None:
    """Forget what this process knows of plug-ins: it reads them once."""
    importlib.invalidate_caches()
    for cached in (plugins.installed, plugin_class, scorer, method_plugin, engine_plugin):
        cached.cache_clear()


def environment_with(site: Path, environment: Mapping[str, str], *more: Path) -> dict[str, str]:
    """`environment` for a child process that has the plug-ins of `site`, and the modules in `more`."""
    return {**environment, "PYTHONPATH": ":".join(map(str, (*more, site)))}
