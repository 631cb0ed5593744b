"""Plug-ins that are wrong: one sentence each, and nobody else is disturbed."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from serve.cli.doctor import plugins_here
from serve.config.engine_plugin import PluginEngine
from serve.config.loader import parse
from tests.support.plugins import forget, installed_in, write_plugin
from tests.support.recipes import parse_recipe
from tests.support.scripted import RECIPE, SOURCE
from variants import plugins
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Store
from variants.build.builder import VariantPlan, build
from variants.errors import PluginError, RecipeError, StackError, UnderstudyError
from variants.methods.registry import find
from variants.metrics.answer_scores import BUILT_IN, SCORES, score_of
from variants.metrics.kinds import BuiltInScorer
from variants.metrics.scoring import is_correct
from variants.recipes.source import Source
from variants.tasks import NAMES, Tasks

TASK = """
from variants.tasks import Task
class It(Task):
    name, kind, labels, sources = "{name}", "{kind}", (), ()
    def _load(self, files):
        return {{}}
"""
FAILING_TASK = """
from variants.tasks import Task
class It(Task):
    name, kind, labels, sources = "failing", "exact", (), ()
    def _load(self, files):
        return {}["train"]
"""
METHOD = """
from pydantic import Field
from variants.document import Document
from variants.methods.plugin import MethodPlugin
class Options(Document):
    share: float = Field(gt=0, lt=1)
it = MethodPlugin(tasks=("text-generation",), build=lambda job, options: None, options=Options)
"""
ENGINE = """
from pydantic import Field
from serve.config.engine_plugin import EnginePlugin
from variants.document import Document
class Fields(Document):
    threads: int = Field(default=1, ge=1)
it = EnginePlugin(tasks=("text-generation",), command=lambda fields, artifact, name: ["echo"], fields=Fields)
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder on the path of this process: install before the first look."""
    with installed_in(tmp_path):
        yield tmp_path


def refused(error: UnderstudyError, distribution: str, entry: str) -> str:
    """The message of an error that names the distribution, the entry point and a mend."""
    assert distribution in str(error)
    assert repr(entry) in str(error)
    assert error.mend
    assert "\n" not in str(error)
    return str(error)


def test_a_plugin_is_imported_when_its_name_is_asked_for_and_not_before(site: Path) -> None:
    write_plugin(site, "ours-broken", "tasks", "broken", "raise RuntimeError('no such\\ndevice')")
    write_plugin(site, "ours-good", "tasks", "good", TASK.format(name="good", kind="exact"), "It")
    assert {"broken", "good", *NAMES} == set(Tasks().names)
    assert Tasks().kind("good") == "exact"
    assert Tasks().kind("mnist") == "image"
    with pytest.raises(PluginError) as error:
        Tasks().get("broken")
    said = refused(error.value, "ours-broken 1.0", "broken")
    assert "cannot be imported: RuntimeError: no such device" in said
    assert "pip uninstall ours-broken" in said


@pytest.mark.parametrize(
    ("group", "name", "code", "target", "says"),
    [
        ("tasks", "mnist", TASK.format(name="mnist", kind="exact"), "It", "has the name of a built-in one"),
        ("tasks", "other", TASK.format(name="mine", kind="exact"), "It", "let its class say `name = 'other'`"),
        ("tasks", "guess", TASK.format(name="guess", kind="guess"), "It", "has examples of kind 'guess'"),
        ("tasks", "words", TASK.format(name="words", kind="schema"), "It", "has examples of kind 'schema'"),
        ("tasks", "words", TASK.format(name="words", kind="spearman"), "It", "has examples of kind 'spearman'"),
        ("tasks", "words", TASK.format(name="words", kind="harness"), "It", "has examples of kind 'harness'"),
        ("tasks", "my-words", TASK.format(name="my-words", kind="exact"), "It", "has '-' in its name"),
        ("tasks", "exits", "raise SystemExit(3)", "It", "cannot be imported: SystemExit: 3"),
        ("tasks", "thing", "it = 5", "it", "is no whole subclass of variants.tasks.Task"),
        ("tasks", "Big", TASK.format(name="Big", kind="exact"), "It", "has no name of a-z, 0-9"),
        ("scorers", "exact", "it = len", "it", "has the name of a built-in one"),
        ("scorers", "passage", "it = len", "it", "has the name of a built-in one"),
        ("scorers", "harness", "it = len", "it", "has the name of a built-in one"),
        ("scorers", "spearman", "it = len", "it", "has the name of a built-in one"),
        ("scorers", "thing", "it = 5", "it", "is no function of an answer and a label"),
        ("scorers", "gone", "", "it", "cannot be imported: AttributeError"),
        ("methods", "llmcompressor-w8a8", METHOD, "it", "has the name of a built-in one"),
        ("methods", "thing", "it = 5", "it", "is no MethodPlugin"),
        ("engines", "vllm", ENGINE, "it", "has the name of a built-in one"),
        ("engines", "thing", "it = 5", "it", "is no EnginePlugin"),
    ],
)
def test_a_wrong_plugin_is_one_sentence(
    site: Path, group: plugins.Group, name: str, code: str, target: str, says: str
) -> None:
    write_plugin(site, "ours-wrong", group, name, code, target)
    write_plugin(site, "ours-good", "scorers", "good", "def it(answer, label): return 1")
    with pytest.raises(PluginError) as error:
        ask(group, name)
    assert says in refused(error.value, "ours-wrong 1.0", name)
    assert score_of("good", "a", "b") == 1
    assert {finding.what: finding.ok for finding in plugins_here()} == {
        f"plug-in {name} of understudy.{group}": False,
        "plug-in good of understudy.scorers": True,
    }


def ask(group: plugins.Group, name: str) -> None:
    """Name it where a user does."""
    if group == "tasks":
        Tasks().get(name)
    elif group == "scorers" and name in ("exact", "thing", "gone"):
        parse(stack({"kind": "scripted"}, scorer=name))
    elif group == "scorers":
        score_of(name, "a", "a")
    elif group == "methods":
        find("text-generation", parse_recipe({"kind": "plugin", "method": name}))
    else:
        parse(stack({"kind": name}))


def stack(engine: dict[str, object], **task: object) -> dict[str, object]:
    own = {"data": {"uri": "./rows.csv"}, "input": "{{ text }}", "label": "label"} | task
    model = {"task": "text-generation", "source": SOURCE, "evaluate": ["own"] if task else []}
    variants = {"baseline": {"recipe": RECIPE, "engine": engine, "weight": 1}}
    return {"schema": 1, "models": {"echo": model | {"variants": variants}}} | ({"tasks": {"own": own}} if task else {})


def test_two_distributions_with_one_name_are_refused_and_both_are_named(site: Path) -> None:
    for distribution in ("ours-one", "ours-two"):
        write_plugin(site, distribution, "scorers", "same", "def it(answer, label): return 1")
    with pytest.raises(PluginError, match=r"ours-one 1\.0 has the name of another one, in ours-two"):
        _ = SCORES["same"]


@pytest.mark.parametrize(("gives", "says"), [("2", "gives 2, no score"), ("None", "gives None"), ("1/0", "ZeroDiv")])
def test_a_scorer_that_gives_no_score_is_named(site: Path, gives: str, says: str) -> None:
    write_plugin(site, "ours-odd", "scorers", "odd", f"def it(answer, label): return {gives}")
    with pytest.raises(PluginError) as error:
        is_correct("odd", "a", "a")
    assert says in refused(error.value, "ours-odd 1.0", "odd")


def test_the_options_of_a_method_are_checked_before_work(site: Path) -> None:
    write_plugin(site, "ours-thin", "methods", "thin", METHOD)
    recipe = {"kind": "plugin", "method": "thin", "options": {"share": 0.5}}
    method = find("text-generation", parse_recipe(recipe))
    assert (method.name, method.version) == ("thin@ours-thin-1.0", 1)
    with pytest.raises(RecipeError, match=r"here\.options\.share: Input should be less than 1 \(its options"):
        find("text-generation", parse_recipe(recipe | {"options": {"share": 2}}), "here")
    with pytest.raises(RecipeError, match=r"here\.method: thin makes nothing for image-generation"):
        find("image-generation", parse_recipe(recipe), "here")
    with pytest.raises(PluginError, match=r"no plug-in adds a method 'thick' \(install it; installed are thin\)"):
        find("text-generation", parse_recipe({"kind": "plugin", "method": "thick"}))


def test_the_fields_and_the_tasks_of_an_engine_are_checked_with_the_stack(site: Path) -> None:
    write_plugin(site, "ours-fast", "engines", "fast", ENGINE)
    read = parse(stack({"kind": "fast", "threads": 2}))
    engine = read.models["echo"].variants["baseline"].engine
    assert engine.model_dump() == {"kind": "fast", "plugin": "fast@ours-fast-1.0", "threads": 2}
    assert parse(read.model_dump(mode="json", by_alias=True)) == read
    with pytest.raises(StackError, match=r"engine\.kind: threads: Input should be greater.*fields of fast are: thr"):
        parse(stack({"kind": "fast", "threads": 0}))
    with pytest.raises(StackError, match=r"engine\.kind: there is no engine 'slow': known are vllm, .*, fast"):
        parse(stack({"kind": "slow"}))
    with pytest.raises(StackError, match=r"an engine needs `kind`"):
        parse(stack({"threads": 1}))
    images = stack({"kind": "fast"})
    images["models"]["echo"]["task"] = "image-generation"
    with pytest.raises(StackError, match="engine 'fast' does no image-generation"):
        parse(images)


def test_what_the_code_of_a_plugin_raises_names_it(site: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    write_plugin(site, "ours-task", "tasks", "failing", FAILING_TASK, "It")
    with pytest.raises(PluginError) as error:
        Tasks().get("failing").examples("test")
    assert "cannot read its examples: KeyError: 'train'" in refused(error.value, "ours-task 1.0", "failing")
    write_plugin(site, "ours-method", "methods", "thin", METHOD.replace("options: None", "options: {}['bits']"))
    forget()
    home = tmp_path_factory.mktemp("home")
    (home / "source").write_bytes(b"0123")
    recipe = parse_recipe({"kind": "plugin", "method": "thin", "options": {"share": 0.5}})
    plan = VariantPlan("m", "v", "text-generation", Source(uri=str(home / "source"), licence="none"), recipe)
    with pytest.raises(PluginError) as error:
        build([plan], Store(home), Catalog(home), say=print)
    assert "fails to build: KeyError: 'bits'" in refused(error.value, "ours-method 1.0", "thin")
    write_plugin(site, "ours-fast", "engines", "fast", ENGINE.replace('["echo"]', "fields.gone"))
    forget()
    engine = parse(stack({"kind": "fast"})).models["echo"].variants["baseline"].engine
    assert isinstance(engine, PluginEngine)
    with pytest.raises(PluginError) as error:
        engine.command(home, "echo")
    assert "fails to give its command: AttributeError" in refused(error.value, "ours-fast 1.0", "fast")


@pytest.mark.parametrize(("group", "code"), [("methods", METHOD), ("engines", ENGINE)])
def test_a_check_of_options_that_fails_names_its_plugin(site: Path, group: plugins.Group, code: str) -> None:
    failing = "    @model_validator(mode='before')\n    def check(cls, given):\n        return given['gone']\nit ="
    code = code.replace("import Field", "import Field, model_validator").replace("it =", failing)
    write_plugin(site, "ours-odd", group, "odd", code)
    with pytest.raises(PluginError) as error:
        ask(group, "odd")
    assert "KeyError: 'gone'" in refused(error.value, "ours-odd 1.0", "odd")


def test_a_full_disk_and_an_interrupt_are_no_fault_of_a_plugin(site: Path) -> None:
    write_plugin(site, "ours-good", "scorers", "good", "def it(answer, label): return 1")
    (plugin,) = plugins.installed()["scorers"]
    for error in (OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), StackError("wrong")):
        with pytest.raises(type(error)) as seen, plugin.called("fails"):
            raise error
        assert seen.value is error


def test_every_built_in_scorer_is_named_once() -> None:
    assert set(BUILT_IN) == set(get_args(BuiltInScorer))
