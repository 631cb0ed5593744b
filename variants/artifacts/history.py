"""A variant's history: the artifacts that its name was bound to, oldest first, and the rules of rollbacks.

A *build* binding is the result of a build. A *rollback* binding returns to an earlier build. Pure functions implement
three rules:

- A rollback undoes all bindings after its target. So three builds and two rollbacks end at the first build. A build
  after a rollback is undone to the target of that rollback.
- A rollback lasts. As long as a name is not bound to its newest build, a recipe that is already in its history does not
  take the name again. A new recipe does.
- Trimming keeps the bindings that the first two rules need. So it neither removes a rollback nor undoes one.
"""

from typing import Literal

from pydantic import AwareDatetime

from variants.document import Document, Sha256
from variants.errors import InputError, UnknownName


class Binding(Document):
    """A variant's name bound to one artifact, since `bound`. Older catalogs have no `why`: all their bindings are
    builds."""

    digest: Sha256
    key: Sha256
    bound: AwareDatetime
    why: Literal["build", "rollback"] = "build"


History = tuple[Binding, ...]


def line_of(history: History) -> History:
    """The bindings that a rollback can undo to, oldest first, and the current one last. Each rollback in the history
    has removed all bindings after its target."""
    line: list[Binding] = []
    for binding in history:
        digests = [earlier.digest for earlier in line]
        if binding.digest in digests and binding.why == "rollback":
            del line[digests.index(binding.digest) :]
        if line and line[-1].digest == binding.digest:  # another recipe has made the same bytes
            line.pop()
        line.append(binding)
    return tuple(line)


def newest_build(history: History) -> Binding | None:
    return next((binding for binding in reversed(history) if binding.why == "build"), None)


def rolled_back(history: History) -> bool:
    """Whether the name is bound to another build than its newest one, because of a rollback."""
    if not history or history[-1].why != "rollback":
        return False
    newest = newest_build(history)
    return newest is None or newest.digest != history[-1].digest


def kept_back(history: History, key: str) -> Binding | None:
    """The current binding, where a rollback keeps it against the artifact of `key`; None where `key` may be bound."""
    if rolled_back(history) and key != history[-1].key and any(binding.key == key for binding in history):
        return history[-1]
    return None


def target(history: History, name: str, build: str | None) -> Binding:
    """The target of a rollback of `name`: the build before, or the one whose digest begins with `build`.

    UnknownName when no digest begins so. InputError when several do, when the name is already bound to that build, or
    when there is no build before.
    """
    if build is None:
        line = line_of(history)
        if len(line) < 2:
            known = _known(history)
            mend = f"name one: {known}" if "," in known else "it has no other build"
            raise InputError(f"{name} has no build before {history[-1].digest[:8]}", field="build", mend=mend)
        return line[-2]
    matches = {binding.digest: binding for binding in history if build and binding.digest.startswith(build)}
    if not matches:
        raise UnknownName(f"no build of {name} begins with {build!r}", field="build", mend=f"one of {_known(history)}")
    if len(matches) > 1:
        raise InputError(
            f"{len(matches)} builds of {name} begin with {build!r}", field="build", mend=f"one of {', '.join(matches)}"
        )
    (binding,) = matches.values()
    if binding.digest == history[-1].digest:
        raise InputError(
            f"{name} stands for {binding.digest[:8]} already", field="build", mend=f"another of {_known(history)}"
        )
    return binding


def trimmed(history: History, keep: int) -> History:
    """The bindings of the current build, of the next `keep` builds that a rollback would undo to, and of the newest
    build, which the second rule needs."""
    kept = {binding.digest for binding in line_of(history)[-(keep + 1) :]}
    if newest := newest_build(history):
        kept.add(newest.digest)
    return tuple(binding for binding in history if binding.digest in kept)


def _known(history: History) -> str:
    return ", ".join(dict.fromkeys(binding.digest[:8] for binding in history))
