# The same commands here, in CI and in the README. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= dbtpod:$(VERSION)
CLUSTER ?= dbtpod
NAMESPACE ?= dbtpod
DBT_PROJECT ?= dbt_project
DATA ?= $(CURDIR)/data
# uv from PATH, or else one of our own.
UV := $(or $(shell command -v uv),.uv/bin/uv)
export UV_PYTHON_DOWNLOADS ?= automatic
export DO_NOT_TRACK := 1

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.uv/bin/uv:
	@echo "Getting uv into .uv"
	@python3 -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check "uv==0.13.9"

.PHONY: run
run: $(UV) ## the daily build on this machine, without a cluster: DuckDB and Prefect in ./data
	@mkdir -p "$(DATA)"
	@$(UV) sync --quiet --locked --inexact
	@DUCKDB_PATH="$(DATA)/work/warehouse.duckdb" PREFECT_HOME="$(DATA)/prefect" \
	  PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120 $(UV) run --no-sync python -m dbtpod.laptop

.PHONY: test
test: $(UV) ## every check: lint, types, unit, chart, cluster
	@$(UV) sync --quiet --locked --all-groups
	$(UV) run --no-sync ruff check
	$(UV) run --no-sync ruff format --check
	$(UV) run --no-sync mypy
	$(UV) run --no-sync pytest

.PHONY: image
image: ## builds the image; DBT_PROJECT=path bakes another project, EXTRA_PACKAGES=dbt-postgres another adapter
	@rm -rf build/dbt_project && mkdir -p build && cp -R "$(DBT_PROJECT)" build/dbt_project
	DOCKER_BUILDKIT=1 docker build --file image/Dockerfile --tag "$(IMAGE)" \
	  --build-arg DBT_PROJECT=build/dbt_project --build-arg EXTRA_PACKAGES="$(EXTRA_PACKAGES)" \
	  --build-arg VERSION="$(VERSION)" --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" .

.PHONY: up
up: image ## a kind cluster with everything on it, ready to use
	@kind get clusters 2>/dev/null | grep -qx "$(CLUSTER)" || kind create cluster --name "$(CLUSTER)" --config k8s/kind.yaml
	kind load docker-image "$(IMAGE)" --name "$(CLUSTER)"
	helm upgrade --install dbtpod charts/dbtpod --kube-context "kind-$(CLUSTER)" --namespace "$(NAMESPACE)" \
	  --create-namespace --values k8s/values-kind.yaml --wait --timeout 5m

.PHONY: down
down: ## removes that cluster, its data with it
	kind delete cluster --name "$(CLUSTER)"

.PHONY: manifests
manifests: ## renders k8s/ from the chart
	k8s/render > k8s/dbtpod.yaml

.PHONY: bench
bench: $(UV) ## the performance table, into bench/RESULTS.md; ONLY="nodes warehouse" measures these sections
	@$(UV) sync --quiet --locked --all-groups
	PYTHONPATH=.:tests:tests/cluster $(UV) run --no-sync python -m bench $(ONLY)

.PHONY: trace
trace: $(UV) ## when each stage of a build in a pod is reached, on a cluster of its own
	@$(UV) sync --quiet --locked --all-groups
	PYTHONPATH=.:tests:tests/cluster $(UV) run --no-sync python -m bench.trace
