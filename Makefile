# Every target sets up what it needs. `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV ?= .venv
BIN := $(VENV)/bin
export VENV
# Compose v2 where it is there, else the classic program.
COMPOSE := $(shell if docker compose version >/dev/null 2>&1; then echo docker compose; else echo docker-compose; fi)
PYTEST := $(BIN)/python -m pytest
# Two at a time: fleets of processes one after the other on one worker, everything else on the other.
TWO := -n 2 --dist loadscope
NOT_HERE := not docker and not data and not performance
ARGS ?=
SYMBOLS ?= BTC/USDT,ETH/USDT
# The data directory of `make start`; every command looks for a running fleet in data/.
STATE ?= data/local

.PHONY: help
help: ## list the targets
	@echo "edgefleet: make TARGET [ARGS='...' passed on to the command]"
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name text; do printf '  %-18s %s\n' "$$name" "$$text"; done

# --- set up ---

.PHONY: install venv venv-dev lock init
install: venv-dev ## .venv with everything for running and developing
venv:
	@scripts/bootstrap.sh run
venv-dev:
	@scripts/bootstrap.sh dev
init: venv ## write .env and conf/ with safe paper defaults, never over a file that is there
	@$(BIN)/edgefleet init $(ARGS)
lock: venv-dev ## resolve the dependencies anew into requirements.lock and requirements-dev.lock
	@scripts/lock.sh

# --- run ---

.PHONY: demo up down start stop status logs
demo: venv ## a trading paper fleet on this machine: no Docker, no keys; page on http://127.0.0.1:8001
	@$(BIN)/edgefleet up --mode demo --venue sim --symbols $(SYMBOLS) $(ARGS)
up: ## the fleet in containers (docker-compose), page on http://127.0.0.1:8001, Grafana on :3000
	@$(COMPOSE) up -d --build $(ARGS)
	@$(COMPOSE) ps
down: ## stop the containers; volumes stay
	@$(COMPOSE) down $(ARGS)
start: venv ## the fleet as local processes on Compose's Redis, Grafana and Prometheus
	@scripts/local_fleet.sh start "$(VENV)" "$(STATE)" --symbols $(SYMBOLS) $(ARGS)
stop: ## stop what `make start` started, in order
	@scripts/local_fleet.sh stop "$(VENV)" "$(STATE)"
status: venv ## health of every service, lag, ages, positions, P&L
	@$(BIN)/edgefleet status $(ARGS)
logs: ## follow the log of `make start`, else of the containers
	@if [[ -f $(STATE)/logs/fleet.jsonl ]]; then tail -n 100 -F $(STATE)/logs/fleet.jsonl; else $(COMPOSE) logs -f --tail 100 $(ARGS); fi

# --- check ---

.PHONY: lint lint-check format type-check imports
lint: venv-dev ## ruff with its safe fixes, and the import contracts
	@$(BIN)/ruff check --fix .
	@$(BIN)/lint-imports
lint-check: venv-dev ## the same without changing a file
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
format: venv-dev ## format every Python file
	@$(BIN)/ruff format .
type-check: venv-dev ## mypy --strict
	@$(BIN)/mypy

# --- test ---

.PHONY: test test-unit test-risk test-monitoring test-integration test-faults test-performance test-load test-compose test-all coverage
test: venv-dev ## everything that needs no Docker; what needs recorded data skips with a reason where there is none
	@$(PYTEST) -m "performance and not docker"
	@$(PYTEST) $(TWO) -m "not docker and not performance" $(ARGS)
test-unit: venv-dev ## arithmetic, state machines, contracts, house rules: no server beyond an embedded Redis
	@$(PYTEST) -m "not integration and not faults and $(NOT_HERE)" $(ARGS)
test-risk: venv-dev ## the risk layer
	@$(PYTEST) -m "$(NOT_HERE)" -k "risk or kelly or var or verdict or blend" $(ARGS)
test-monitoring: venv-dev ## metrics, dashboards, alert rules, the page
	@$(PYTEST) -m "$(NOT_HERE)" -k "monitor or metric or dashboard or grafana or prometheus or alert" $(ARGS)
test-integration: venv-dev ## service by service and all together, against a real Redis
	@EDGEFLEET_TEST_REDIS=$${EDGEFLEET_TEST_REDIS:-auto} $(PYTEST) -m "integration and not docker" $(ARGS)
test-faults: venv-dev ## kills, cuts, delays and corruptions
	@$(PYTEST) -m "faults and not docker" $(ARGS)
test-performance: venv-dev ## time and memory beside a floor of the same run
	@$(PYTEST) -m "performance and not docker" $(ARGS)
test-load: venv-dev ## the pipeline at its highest sustained rate
	@$(BIN)/edgefleet bench pipeline $(ARGS)
test-compose: venv-dev ## the stack in containers: healthy, scraped, trading, healing, gone
	@$(PYTEST) -m docker $(ARGS)
test-all: venv-dev ## every test there is, Docker's too
	@$(PYTEST) $(ARGS)
coverage: venv-dev ## the tests of `make test` with branch coverage, report in htmlcov/
	@$(BIN)/coverage erase
	@$(PYTEST) $(TWO) -m "not docker and not performance" --cov --cov-report=term --cov-report=html $(ARGS)

# --- measure and read ---

.PHONY: bench docs
bench: venv ## every benchmark, each figure beside its floor
	@$(BIN)/edgefleet bench all $(ARGS)
docs: venv-dev ## regenerate the reference pages and dashboards that are made from code
	@scripts/docs.sh
