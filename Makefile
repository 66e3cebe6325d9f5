# Every target sets up what it needs first; `make demo` and `make test` work on a fresh machine.
PYTHON ?= $(shell command -v python3 || command -v python)
BIN := .venv/bin
CODE := agent_actor autoscaler fleet loadtest serve tests

UNIT = $(BIN)/python -m pytest tests/unit -n 2
# Integration tests mostly wait: two files at a time, each process with parts of its own. What judges
# how something sounds has the machine to itself.
SIDE_BY_SIDE = $(BIN)/python -m pytest tests/integration -m "not alone" -n 2 --dist loadfile
ALONE = $(BIN)/python -m pytest tests/integration -m alone
# k8s/, compose.yaml and the Dockerfile against the real types and the code.
MANIFESTS = $(BIN)/python -m pytest tests/manifests -n 2
# Never skipped: what they need is got ready first, or the target fails.
BROWSER = $(BIN)/python -m fleet.local.web && $(BIN)/python -m fleet.local.chromium && \
	$(BIN)/python -m pytest tests/browser

# The short forms of the benchmarks, each an executable module: python -m NAME --smoke
SMOKE_BENCHMARKS := fleet.bench.budget fleet.bench.reports fleet.bench.actors fleet.bench.autoscaler \
	fleet.bench.simulation fleet.bench.scenario fleet.bench.chaos

# make load N=50: so many sessions at once; RESUME=1 takes up a load-churn that was broken off
N ?=
RESUME ?=
# make chaos GROUP=nodes: a third of it, in an hour at most
GROUP ?=
# make demo WEB=1: stays up afterwards, for looking at the web pages
WEB ?=
LOAD_ARGUMENTS = $(if $(N),--sessions $(N)) $(if $(RESUME),--resume)

.PHONY: help setup demo test unit integration browser web screens check check-k8s format \
	bench-autoscaler bench-budget bench-live bench-reports bench-relay bench-telemetry bench-peer \
	bench-fleet-page bench-pages chaos rehearsal load load-media load-churn load-sim smoke-bench \
	lock upgrade clean
.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## Make .venv match requirements.lock (nothing to do: well under a second)
	@$(PYTHON) fleet/local/bootstrap.py

demo: setup ## Four interviews at once, on real parts, against the simulators (WEB=1: and stays up)
	@exec $(BIN)/fleet demo $(if $(WEB),--web)

test: setup ## Unit tests, the manifests' check, integration tests on real parts, the pages in a browser
	@$(UNIT)
	@$(BIN)/python -m tests.manifests.tool
	@$(MANIFESTS)
	@$(BIN)/python -m fleet.local.tools
	@$(SIDE_BY_SIDE)
	@$(ALONE)
	@$(BROWSER)

unit: setup ## Unit tests alone
	@exec $(UNIT)

integration: setup ## Integration tests alone
	@$(BIN)/python -m fleet.local.tools
	@$(SIDE_BY_SIDE)
	@$(ALONE)

browser: setup ## The web pages in a real Chromium alone
	@$(BIN)/python -m fleet.local.tools
	@$(BROWSER)

web: setup ## Build the web pages
	@exec $(BIN)/python -m fleet.local.web

screens: setup ## Take the pictures in docs/screens anew
	@$(BIN)/python -m fleet.local.web && $(BIN)/python -m fleet.local.chromium
	@$(BIN)/python -m tests.browser.screens
	@exec $(BIN)/python -m tests.browser.fleet_screens

check: setup ## Lint, format, types, import rules, unit tests: the same as CI
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@exec $(UNIT) -q

check-k8s: setup ## Manifests, compose file and Dockerfile against the real types and the code
	@$(BIN)/python -m tests.manifests.tool
	@exec $(MANIFESTS)

format: setup ## Apply the formatter and the safe fixes
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

bench-autoscaler: setup ## How many nodes, on simulated days: the policy, the rules of others, an oracle
	@exec $(BIN)/python -m fleet.bench.autoscaler

bench-budget: setup ## Whether money holds: sessions of every fate, at their limits, through outages; reports
	@exec $(BIN)/python -m fleet.bench.budget

bench-reports: setup ## How many usage reports the budget actor takes, and how fast
	@exec $(BIN)/python -m fleet.bench.reports

bench-live: setup ## What a live session costs, and how its interviewer sounds
	@exec $(BIN)/python -m fleet.bench.live

bench-telemetry: setup ## What traces cost a live session
	@exec $(BIN)/python -m fleet.bench.telemetry

bench-relay: setup ## Whether gathering reports on each node pays
	@exec $(BIN)/python -m fleet.bench.relay

bench-fleet-page: setup ## The fleet page over 500 sessions that change: frames, long tasks, CPU
	@$(BIN)/python -m fleet.local.tools
	@$(BIN)/python -m fleet.local.web && $(BIN)/python -m fleet.local.chromium
	@exec $(BIN)/python -m tests.browser.smoothness

bench-pages: setup ## What the web pages weigh, and how soon they can be used
	@$(BIN)/python -m fleet.local.tools
	@$(BIN)/python -m fleet.local.web && $(BIN)/python -m fleet.local.chromium
	@exec $(BIN)/python -m fleet.bench.pages

bench-peer: setup ## This fleet beside a livekit-agents worker, on the same parts
	@$(BIN)/python -m fleet.local.tools
	@exec $(BIN)/python -m fleet.bench.peer

chaos: setup ## Every part killed while interviews run: does any of them notice? (GROUP=parts, edges or nodes)
	@$(BIN)/python -m fleet.local.tools
	@exec $(BIN)/python -m fleet.bench.chaos $(if $(GROUP),--group $(GROUP))

rehearsal: setup ## Install, load, grow, lose a node, upgrade, shrink: does any interview notice?
	@$(BIN)/python -m fleet.local.tools
	@exec $(BIN)/python -m fleet.bench.rehearsal

load: setup ## 200 sessions at once (N=…) through the Locust scenario, their audio in memory
	@$(BIN)/python -m fleet.local.tools
	@exec $(BIN)/python -m fleet.bench.scenario load $(LOAD_ARGUMENTS)

load-media: setup ## The same with real media, 10 at once (N=…)
	@$(BIN)/python -m fleet.local.tools
	@exec $(BIN)/python -m fleet.bench.scenario media $(LOAD_ARGUMENTS)

load-churn: setup ## 2,000 short sessions (N=…): what is lost, doubled or left behind
	@$(BIN)/python -m fleet.local.tools
	@exec $(BIN)/python -m fleet.bench.scenario churn $(LOAD_ARGUMENTS)

load-sim: setup ## The pure decisions at 1,000 to 100,000 sessions, on a virtual clock
	@exec $(BIN)/python -m fleet.bench.simulation

smoke-bench: setup ## The benchmarks in their short forms
	@$(if $(SMOKE_BENCHMARKS),,echo "smoke-bench: no benchmark is listed yet (SMOKE_BENCHMARKS in the Makefile)")
	@set -e; for name in $(SMOKE_BENCHMARKS); do \
		echo "== $$name"; $(BIN)/python -m $$name --smoke; done

lock: ## Bring the lock files in step with pyproject.toml
	@$(PYTHON) fleet/local/bootstrap.py lock

upgrade: ## The same, with every dependency at its newest
	@$(PYTHON) fleet/local/bootstrap.py upgrade

clean: ## Remove what was made here (the shared cache under ~/.cache/interview-fleet stays)
	rm -rf .venv out build dist serve/web/dist serve/web/node_modules .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
