"""`make test-faults`: plants faults, one at a time, in a copy of the tree, and runs the tests of the module at fault.

Coverage says which lines a test reaches. It does not say whether the test would fail if such a line were wrong. Each fault
here is one that a person could make: a turned comparison, a forgotten condition, a limit that is off by one. A fault
that no test notices ends the run with code 1. The copy is the working tree, without what git ignores. First each module's
tests run without a fault: if one fails there, it says nothing about faults.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 300.0
TESTS = {
    "serve/dataplane/router.py": ["tests/unit/serve/dataplane/test_router.py"],
    "serve/dataplane/relay.py": [
        "tests/unit/serve/dataplane/test_relay.py",
        "tests/integration/serve/dataplane/test_relay.py",
        "tests/integration/serve/dataplane/test_faults.py",
    ],
    "serve/dataplane/accounting.py": [
        "tests/unit/serve/dataplane/test_accounting.py",
        "tests/integration/serve/dataplane/test_relay.py",
    ],
    "serve/dataplane/second_opinion.py": ["tests/unit/serve/dataplane/test_second_opinion.py"],
    "serve/dataplane/served.py": ["tests/unit/serve/dataplane/test_served.py"],
    "serve/shadow/replayer.py": ["tests/unit/serve/shadow/test_replayer.py"],
    "serve/shadow/opinions/judge.py": ["tests/unit/serve/shadow/opinions/test_judge.py"],
    "serve/shadow/sampling.py": ["tests/unit/serve/shadow/test_sampling.py"],
    "variants/evidence/free_running.py": ["tests/unit/variants/evidence/test_free_running.py"],
    "variants/evidence/gate.py": ["tests/unit/variants/evidence/test_gate.py"],
    "variants/evidence/detector.py": ["tests/unit/variants/evidence/test_detector.py"],
    "variants/evidence/guard.py": ["tests/unit/variants/evidence/test_guard.py"],
    "variants/evidence/labels.py": ["tests/unit/variants/evidence/test_labels.py"],
    "variants/evidence/segments.py": ["tests/unit/variants/evidence/test_segments.py"],
    "variants/evidence/client_shares.py": ["tests/unit/variants/evidence/test_client_shares.py"],
    "serve/control/opinion_counts.py": ["tests/unit/serve/control/test_opinion_counts.py"],
    "serve/control/pair_evidence.py": ["tests/unit/serve/control/test_pair_evidence.py"],
    "serve/control/state.py": ["tests/unit/serve/control/test_state.py"],
    "serve/control/rollout.py": ["tests/unit/serve/control/test_rollout.py"],
    "serve/control/card_beside.py": ["tests/unit/serve/control/test_card_beside.py"],
    "variants/artifacts/store.py": [
        "tests/unit/variants/artifacts/test_store.py",
        "tests/unit/variants/build/test_garbage.py",
    ],
    "serve/control/journal.py": [
        "tests/unit/serve/control/test_journal.py",
        "tests/unit/serve/control/test_checkpoint.py",
    ],
    "serve/control/checkpoint.py": ["tests/unit/serve/control/test_checkpoint.py"],
    "serve/config/server/api_keys.py": ["tests/unit/serve/config/server/test_api_keys.py"],
    "serve/api/access/authentication.py": ["tests/unit/serve/api/access/test_authentication.py"],
}


class Fault(NamedTuple):
    """In `file`, `right` becomes `wrong`, once."""

    file: str
    right: str
    wrong: str


FAULTS = [
    Fault("serve/dataplane/router.py", "return -weight / math.log(uniform)", "return -1 / math.log(uniform)"),
    Fault("serve/dataplane/router.py", "for variant, weight in weights.items() if weight > 0}", "for variant, weight in weights.items()}"),
    Fault("serve/dataplane/router.py", "reverse=True", "reverse=False"),
    Fault("serve/dataplane/router.py", '"fallback" if place else', '"fallback" if not place else'),
    Fault("serve/dataplane/router.py", '"capable" if len(order) < len(whole)', '"capable" if len(order) > len(whole)'),
    Fault("serve/dataplane/router.py", "if variant not in unable]", "if variant]"),
    Fault("serve/dataplane/accounting.py", "call.assignment.reason not in ANSWERED_FOR", "call.assignment.reason not in CHOSEN_BY_THE_ROUTER"),
    Fault("serve/dataplane/router.py", '"pinned") if target.variant in ready else None', '"pinned")'),
    Fault("serve/dataplane/router.py", "    if pin in ready and", "    if pin and"),
    Fault("serve/dataplane/router.py", "(at and not variant) or (colon and not build)", "at and not variant"),
    Fault("serve/dataplane/relay.py", "                    if call.target.variant:\n                        raise EngineError(", "                    if not call.target.variant:\n                        raise EngineError("),
    Fault("serve/dataplane/accounting.py", "(call.key, call.client), True, took_s)", "(call.key, call.client), False, took_s)"),
    Fault("serve/dataplane/accounting.py", "not left and call.status != 200, took_s", "not left and call.status == 200, took_s"),
    Fault("serve/dataplane/relay.py", "        call.status = CLIENT_WENT_AWAY\n        work.cancel()", "        work.cancel()"),
    Fault("serve/dataplane/relay.py", "call.status = status_of(error)", "call.status = 504"),
    Fault("serve/dataplane/relay.py", "        if out:\n", "        if not out:\n"),
    Fault("serve/dataplane/relay.py", "    call.offering = True", "    call.offering = False"),
    Fault("serve/dataplane/relay.py", "if first is not None:  # no variant", "if first is None:  # no variant"),
    Fault("serve/dataplane/accounting.py", "(refused and all_up)", "refused"),
    Fault("variants/evidence/gate.py", "return POOLED * self.alpha / len(self.metrics)", "return POOLED * self.alpha"),
    Fault("variants/evidence/gate.py", "/ DETECTORS / phases", "/ DETECTORS"),
    Fault("variants/evidence/gate.py", "good, bad = is_below(tally, limit, to_pass), is_above(tally, limit, to_break)", "good, bad = is_above(tally, limit, to_pass), is_below(tally, limit, to_break)"),
    Fault("variants/evidence/gate.py", "each.with_more(-1.0, paired.lost)", "each.with_more(1.0, paired.lost)"),
    Fault("variants/evidence/gate.py", "to_break = shown.with_more(1.0, paired.lost)", "to_break = shown"),
    Fault("variants/evidence/gate.py", "good = is_above(to_pass, limit, alpha, bets) and", "good ="),
    Fault("variants/evidence/gate.py", " and is_above(distinct, limit, alpha, bets)", ""),
    Fault("variants/evidence/gate.py", "0.5 ** min(", "1.0 ** min("),
    Fault("variants/evidence/gate.py", "if gate.guard is None or not context.serves:", "if gate.guard is None or not context.serves or evidence.arms is None:"),
    Fault("variants/evidence/gate.py", "return -limit if metric in", "return limit if metric in"),
    Fault("variants/evidence/gate.py", '*(() if findings else ("none', '*(() if True else ("none'),
    Fault("variants/evidence/gate.py", "if costs[0] >= costs[1]:", "if costs[0] > costs[1]:"),
    Fault("variants/evidence/gate.py", "if evidence.assignments.is_broken():", "if not evidence.assignments.is_broken():"),
    Fault("variants/evidence/gate.py", '"roll back" if harm else "inconclusive" if missing', '"inconclusive" if missing else "roll back" if harm'),
    Fault("variants/evidence/detector.py", "(kept + part * begun) *", "kept * (1 + share * gain) + part * begun *"),
    Fault("variants/evidence/detector.py", "max(self.peak, min(MOST, sum(self.wealth)))", "min(MOST, sum(self.wealth))"),
    Fault("variants/evidence/guard.py", "max(so_far.rate, parent or 0.0) + limit", "so_far.rate + limit"),
    Fault("variants/evidence/guard.py", "self.replays.add(float(failed)", "self.failing.add(float(failed)"),
    Fault("serve/control/pair_evidence.py", "slow = p95_s > ", "slow = p95_s >= "),
    Fault("variants/evidence/gate.py", "context.last and not context.alone", "context.last"),
    Fault("variants/evidence/labels.py", "if not is_above(contrast, 0.0, alpha):", "if contrast.mean <= 0:"),
    Fault("variants/evidence/labels.py", "on_card if on_card is not None else 1.0", "on_card or contrast.mean"),
    Fault("variants/evidence/segments.py", "(part / max(1, len(segments)) for", "(part for"),
    Fault("variants/evidence/segments.py", "if most_loss is not None and not findings:", "if False:"),
    Fault("variants/evidence/segments.py", "is_below(tally, limit, suspicion)", "tally.n > 0 and tally.mean < limit"),
    Fault("variants/evidence/client_shares.py", "share * (self.n + 1)", "share * (self.n + self.over + 1)"),
    Fault("variants/evidence/client_shares.py", "self.counts[client] = self.counts.pop(least)", "self.counts.pop(least)"),
    Fault("serve/control/pair_evidence.py", "self.clients.setdefault(metric,", 'self.clients.setdefault("all",'),
    Fault("serve/control/pair_evidence.py", "if self.ids.add(each[\"id\"]):", "if True:"),
    Fault("serve/control/pair_evidence.py", "self.parent_seconds[max(known)] if known", "self.parent_seconds[min(known)] if known"),
    Fault("serve/control/pair_evidence.py", "self.since, self.evidence.arms = version, Arms()", "self.since = version"),
    Fault("serve/control/pair_evidence.py", "paired.harm = type(paired.harm)()", "pass"),
    Fault("serve/control/state.py", 'if entry.get("rules") != RULES:', 'if entry.get("rules", RULES) != RULES:'),
    Fault("serve/control/state.py", "rollout.plan.continues and rollout.pair in self.pairs", "rollout.plan.continues"),
    Fault("serve/control/state.py", "max(1, attempts) if continued", "attempts if continued"),
    Fault("serve/control/state.py", 'rollout.status != "promoted" or before', 'rollout.status != "running" or before'),
    Fault("serve/control/rollout.py", "> set(verdict.waits)", ">= set(verdict.waits)"),
    Fault("serve/control/rollout.py", "if rollout.began_at else 0.0", "if True else 0.0"),
    Fault("serve/control/rollout.py", "each.to_go is None or each", "each.to_go is not None and each"),
    Fault("serve/control/rollout.py", 'status="rolled back", watched=False', 'status="rolled back"'),
    Fault("serve/control/card_beside.py", "known.high >= -delta", "known.value >= -delta"),
    Fault("serve/control/card_beside.py", "each.created.timestamp() <= at", "at > 0"),
    Fault("variants/artifacts/store.py", "if actual != entry.sha256:", "if len(actual) != len(entry.sha256):"),
    Fault("variants/artifacts/store.py", "sorted(present ^ set(manifest.files))", "sorted(set(manifest.files) - present)"),
    Fault("variants/artifacts/store.py", "return (folder / MANIFEST).is_file()", "return folder.is_dir()"),
    Fault("variants/artifacts/store.py", "yield free and idle", "yield free or idle"),
    Fault("variants/artifacts/store.py", "if artifact.manifest.key != key:", "if not artifact.manifest.key:"),
    Fault("serve/control/journal.py", "self.epoch = self.standing_epoch() + 1", "self.epoch = self.standing_epoch()"),
    Fault("serve/control/journal.py", "                except BaseException:\n                    file.truncate(size)", "                except BaseException:\n                    file.truncate(size + 1)"),
    Fault("serve/control/journal.py", "                whole += len(line)\n", "                whole += len(line) - 1\n"),
    Fault("serve/control/journal.py", "if self.standing_epoch() != self.epoch:", "if self.standing_epoch() < self.epoch:"),
    Fault("serve/control/journal.py", "self.seq += len(written)", "self.seq += 1"),
    Fault("serve/control/journal.py", 'data.count(b"\\n") <= count', 'data.count(b"\\n") < count'),
    Fault("serve/control/journal.py", "self.seq -= count", "self.seq -= 1"),
    Fault("serve/config/server/api_keys.py", 'return self.has_given_rights and "label"', 'return "label"'),
    Fault("serve/dataplane/served.py", "sum(failed / count for count, failed", "sum(failed for count, failed"),
    Fault("serve/dataplane/served.py", "self.nameless[0] + len(self.named)), 4", "max(1, len(self.named))), 4"),
    Fault("serve/dataplane/served.py", "(span.number + 1) * span.block_s <= now", "span.number * span.block_s <= now"),
    Fault("serve/dataplane/served.py", "(late or not result.left)", "not result.left"),
    Fault("serve/shadow/replayer.py", "if replay.by_variant and replay.label is None:", "if replay.label is None:"),
    Fault("serve/shadow/replayer.py", "failed = replay.asking is replay.variant", "failed = replay.asking is not replay.parent or refused"),
    Fault("serve/shadow/replayer.py", "(refused and replay.call.was_refused)", "refused"),
    Fault("serve/shadow/replayer.py", "elif refused and replay.scoring:", "elif refused:"),
    Fault("serve/dataplane/second_opinion.py", "other.endpoint is None or ", ""),
    Fault("serve/dataplane/second_opinion.py", "BROKEN_STREAM not in reply.body", "True"),
    Fault("serve/control/opinion_counts.py", "preference.lost -= 1", "pass"),
    Fault("serve/control/opinion_counts.py", 'and opinion["by"] == "judge":', ":"),
    Fault("serve/shadow/opinions/judge.py", "first if first == -second else 0", "first"),
    Fault("serve/shadow/replayer.py", "                if replay.begun:", "                if not replay.begun:"),
    Fault("serve/shadow/replayer.py", "variant, parent = (own, others) if replay.by_variant", "variant, parent = (own, others) if not replay.by_variant"),
    Fault("serve/shadow/sampling.py", "if asked.opted_out:", "if asked.opted_out and asked.label is None:"),
    Fault("serve/shadow/sampling.py", "keys[call.key].is_trusted_to_label", "bool(keys[call.key].rights)"),
    Fault("serve/shadow/sampling.py", "asked.label is not None and not asked.streamed", "asked.label is not None"),
    Fault("variants/evidence/free_running.py", "STOP_DIFFERS if stops_differ", "1.0 if stops_differ"),
    Fault("variants/evidence/free_running.py", "type(one) is type(other) and", ""),
    Fault("variants/evidence/free_running.py", "* stop * (1 - excess)", "* stop"),
    Fault("serve/control/journal.py", "                old.seek(size)", "                old.seek(0)"),
    Fault("serve/control/journal.py", "                if head.seq > after:", "                if True:"),
    Fault("serve/control/checkpoint.py", "self.journal, self.size = journal, journal.file.stat().st_size", "self.journal, self.size = journal, 0"),
    Fault("serve/control/checkpoint.py", 'if document["rules"] != RULES:', 'if document["rules"] == RULES:'),
    Fault("serve/config/server/api_keys.py", "if hmac.compare_digest(each, given)", "if each or given"),
    Fault("serve/config/server/api_keys.py", 'scheme.lower() != "bearer" or not', "not"),
    Fault("serve/api/access/authentication.py", "right not in key.rights:", "right in key.rights:"),
    Fault("serve/api/access/authentication.py", "if keys[name].has_expired():", "if not keys[name].has_expired():"),
    Fault("serve/api/access/authentication.py", "                use.begin(keys[name].limits)", "                pass"),
    Fault("serve/api/access/authentication.py", "                use.end()", "                pass"),
    Fault("serve/api/access/authentication.py", '"infer" and LABEL in headers', '"infer" and LABEL not in headers'),
    Fault("serve/config/server/api_keys.py", "date() > self.expires", "date() >= self.expires"),
    Fault("serve/api/access/authentication.py", 'scope["path"].startswith(ADMIN)', 'scope["path"] == ADMIN'),
    Fault("serve/api/access/authentication.py", "if pair[0] not in SET_HERE]", 'if pair[0] != b"x-understudy-who"]'),
    Fault("serve/api/access/authentication.py", "    if not keys[name].shadow:", "    if keys[name].shadow:"),
    Fault("serve/api/access/authentication.py", '"/v2/health/", "/health"', '"/v2/", "/health"'),
]  # fmt: skip


def copy_tree(folder: Path) -> None:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def verdict_on(folder: Path, fault: Fault) -> str:
    """What the module's tests do with the fault planted; the file is mended afterwards."""
    path = folder / fault.file
    text = path.read_text()
    if text.count(fault.right) != 1:
        raise SystemExit(f"{fault.file} holds {text.count(fault.right)} times, not once: {fault.right}")
    path.write_text(text.replace(fault.right, fault.wrong))
    try:
        return run_tests(folder, fault.file)
    finally:
        path.write_text(text)


def run_tests(folder: Path, file: str) -> str:
    """`passed`, `failed` or `timed out`. Raises SystemExit where pytest itself fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS[file]]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "timed out"
    if process.returncode > 1:
        raise SystemExit(f"pytest itself failed on the tests of {file}:\n{said}")
    return "failed" if process.returncode else "passed"


def main() -> int:
    survivors = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tree(folder)
        for file in TESTS:
            if run_tests(folder, file) != "passed":
                raise SystemExit(f"the tests of {file} do not pass without a fault: mend them first")
        for number, fault in enumerate(FAULTS, 1):
            began = time.monotonic()
            verdict = verdict_on(folder, fault)
            survivors += verdict == "passed"
            words = f"{fault.file}: {' '.join(fault.right.split())} -> {' '.join(fault.wrong.split())}"
            said = {"failed": "noticed", "timed out": "noticed, by no end", "passed": "SURVIVED"}[verdict]
            print(f"{number:2}/{len(FAULTS)} {said} {time.monotonic() - began:5.1f} s  {words}", flush=True)
    print(f"{len(FAULTS) - survivors} of {len(FAULTS)} faults noticed by their module's own tests")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
