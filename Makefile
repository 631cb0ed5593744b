# Every target makes the environment first. `make PYTHON=python3.12 demo` chooses another interpreter.
PYTHON ?= python3
BIN := .venv/bin
# Ends what tests leave behind, also after Ctrl-C.
TEST = $(BIN)/python .ci/supervise.py $(BIN)/python $(MEASURE) -m pytest -q --durations=80 --dist loadgroup

.PHONY: help environment demo demo-all gpu picture serve study lock check clean
.PHONY: test test-fast test-integration test-long test-zoo test-faults coverage
.PHONY: bench-accuracy bench-adapter bench-console bench-gate bench-hostile bench-journal bench-proxy bench-record bench-shadow bench-start build-cost
.PHONY: architectures clients console-check fuzz screenshots yours

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

environment:  ## the locked packages, in .venv
	@$(PYTHON) deploy/install.py --extra $(or $(EXTRA),cpu)

demo: environment  ## build, serve, load, report: nine variants of three real models, about 10 minutes, 5 the second time
	@$(BIN)/python -m deploy.cli

demo-all: environment  ## the same with thirteen variants: about 20 minutes, 8 the second time
	@$(BIN)/python -m deploy.cli --stack deploy/stacks/demo-all.yaml --campaign loadtest/campaigns/demo-all.yaml --out out/demo-all

gpu:  ## the demo's text part on an NVIDIA GPU, three variants by shares, in an environment for GPUs
	@nvidia-smi --list-gpus >/dev/null 2>&1 || { echo "make gpu: nvidia-smi lists no GPU here; make demo runs on the CPU" >&2; exit 4; }
	@$(MAKE) --no-print-directory environment EXTRA=gpu
	@$(BIN)/python -m deploy.cli --stack deploy/stacks/gpu.yaml --campaign loadtest/campaigns/gpu.yaml --out out/gpu

picture: environment  ## the README's picture, from the last demo's figures
	@$(BIN)/python -m loadtest.results.picture out/demo/summary.json docs/pareto.svg

serve: environment  ## build the demo's models and keep the server up
	@$(BIN)/understudy serve deploy/stacks/demo.yaml

study: environment  ## every family and method on one page; ONLY=text-generation for one family, BUDGET=20 for minutes
	@$(BIN)/understudy study $(if $(ONLY),--only $(ONLY)) $(if $(BUDGET),--budget $(BUDGET))

test: test-fast test-integration  ## every test that this machine can run

test-fast: environment  ## the tests that start no server: under 90 s
	@$(TEST) tests/unit -n auto

test-integration: environment  ## those with real processes and weights, three at a time on 2 cores where memory allows
	@$(TEST) tests/integration -n auto

coverage: export COVERAGE_FILE = $(CURDIR)/out/coverage/data
coverage: environment  ## make test, and which lines and branches it reaches, in child processes too
	@mkdir -p out/coverage && $(BIN)/coverage erase
	@$(MAKE) --no-print-directory test MEASURE="-m coverage run"
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered

test-long: environment  ## all of them, and those that take minutes
	@UNDERSTUDY_LONG=1 $(TEST) tests

test-zoo: environment  ## the tests on real data beside the project, named by UNDERSTUDY_ZOO
	@$(BIN)/python -m pytest -q -m zoo

check: environment  ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

test-faults: environment  ## whether tests notice planted faults: 51 of them, about 4 minutes
	@$(BIN)/python .ci/supervise.py $(BIN)/python -m tests.faults

build-cost: environment  ## peak memory and time of text builds, over sizes and schemes; goes on where it ended; SIZES="0.1 0.4" for some
	@$(BIN)/python -m loadtest.benchmarks.build_cost $(if $(SIZES),--parameters $(SIZES))

bench-accuracy: environment  ## each family's labelled load through the server, against its cards; ONLY=object-detection for one
	@$(BIN)/python -m loadtest.benchmarks.accuracy_under_load $(if $(ONLY),--only $(ONLY))

bench-proxy: environment  ## what the server lets through of vLLM's own: about 6 minutes
	@$(BIN)/python -m loadtest.benchmarks.proxy_overhead

bench-adapter: environment  ## how long an adapter takes to be live, and its memory: about 3 minutes
	@$(BIN)/python -m loadtest.benchmarks.adapter_load

bench-console: environment  ## what an open page of the console costs the server in CPU time, under load: about 7 minutes; PAIRS=4 for fewer
	@$(BIN)/python -m loadtest.benchmarks.console.cpu $(if $(PAIRS),--pairs $(PAIRS))

bench-gate: environment  ## how often the gate is wrong, how soon right, by simulation: about 20 minutes on two cores; goes on where it ended
	@$(BIN)/python -m loadtest.benchmarks.gate

bench-journal: environment  ## disk and start of the controller after 10 million pairs: about 5 minutes
	@$(BIN)/python -m loadtest.benchmarks.journal_growth $(if $(PAIRS),--pairs $(PAIRS))

bench-record: environment  ## what counting and keeping a request costs an ingress in CPU time: some seconds
	@$(BIN)/python -m loadtest.benchmarks.recording

bench-shadow: environment  ## whether clients wait longer because of shadows: about 20 minutes
	@$(BIN)/python -m loadtest.benchmarks.shadow_overhead

bench-start: environment  ## how soon a stack's variants answer, and what idling costs; STACK=deploy/stacks/demo-all.yaml for another
	@$(BIN)/python -m loadtest.benchmarks.start_and_idle $(if $(STACK),--stack $(STACK))

bench-hostile: environment  ## what one hostile client does to the others, on scripted engines: about 2 minutes
	@$(BIN)/python -m loadtest.benchmarks.hostile

fuzz: environment  ## 20,000 generated requests to every operation of /openapi.json, on scripted engines: about 10 minutes; SEED=7 for others
	@$(BIN)/python -m loadtest.benchmarks.fuzz $(if $(SEED),--seed $(SEED)) $(if $(CASES),--cases $(CASES))

architectures: environment  ## which architectures each method builds and the engines serve: under an hour on two idle cores; ONLY=GPT-2 for one
	@$(BIN)/python -m loadtest.benchmarks.architectures $(if $(ONLY),--only "$(ONLY)")

clients: environment  ## clients of other makers, as they are, against each variant: about half an hour; ONLY=openai for one
	@$(BIN)/python -m deploy.client_environments $(if $(ONLY),--only $(ONLY))
	@$(BIN)/python -m loadtest.benchmarks.clients $(if $(ONLY),--only $(ONLY))

console-check: environment  ## the console in a browser, page by page, against the demo's stack: about eight minutes
	@$(BIN)/python -m loadtest.benchmarks.console

screenshots: environment  ## pictures of the console's pages for docs/console, of the demo's stack: about two minutes
	@$(BIN)/python -m loadtest.benchmarks.console.screenshots

yours: environment  ## models and data that the project does not know, from init to a rollout: about half an hour; ONLY=feature-extraction for one
	@$(BIN)/python -m loadtest.benchmarks.yours $(if $(ONLY),--only $(ONLY))

lock: environment  ## resolve the pinned versions again
	@$(BIN)/python -m deploy.lock cpu
	@$(BIN)/python -m deploy.lock gpu
	@$(BIN)/python -m deploy.lock clients

clean:  ## what was made here, but not the artifacts in UNDERSTUDY_HOME
	rm -rf out .venv .pytest_cache .mypy_cache .ruff_cache
