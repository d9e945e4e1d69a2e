# The same commands here, in CI and in the README. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BASE := dbtpod:$(VERSION)
IMAGE ?= dbtpod-demo:$(VERSION)
CLUSTER ?= dbtpod
NAMESPACE ?= dbtpod
DBT_PROJECT ?= dbt_project
# uv from PATH, or else one of our own.
UV := $(or $(shell command -v uv),.uv/bin/uv)
export UV_PYTHON_DOWNLOADS ?= automatic
export DO_NOT_TRACK := 1
# With bytecode, which halves dbt's import: a test imports it often, and in the first minute from many processes.
SYNC := $(UV) sync --quiet --locked --all-groups --compile-bytecode

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.uv/bin/uv:
	@echo "Getting uv into .uv"
	@python3 -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check "uv==0.13.9"

# Go builds it as its checksum database has it.
.tools/helm-docs:
	@if command -v go >/dev/null; then echo "Getting helm-docs into .tools"; \
	  GOBIN="$(CURDIR)/.tools" go install github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2; \
	  elif [ "$${CI:-}" = true ]; then echo "helm-docs cannot be built: go is not on PATH" >&2; exit 1; \
	  else echo "helm-docs is left out: go is not on PATH"; fi

# The demo is part of this repository; anybody else's project has one of its own.
IS_DEMO = $(filter dbt_project,$(DBT_PROJECT))
DATA ?= $(if $(IS_DEMO),data)

.PHONY: install
install: $(UV) ## the command dbtpod, in .venv/bin, with the versions that are locked
	@$(UV) sync --quiet --locked --inexact

.PHONY: run
run: install ## the daily build on this machine, without a cluster; DBT_PROJECT=path builds the project there, WHAT="build -s orders" a part
	@$(if $(DATA),DBTPOD_VOLUME="$(abspath $(DATA))") $(if $(IS_DEMO),DBT_PROJECT_DIR=dbt_project) \
	  $(UV) run --no-sync dbtpod run $(if $(IS_DEMO),,--project-dir "$(DBT_PROJECT)") $(WHAT)

.PHONY: lint
lint: $(UV) lint-workflows
	$(UV) run --no-sync ruff check
	$(UV) run --no-sync ruff format --check
	$(UV) run --no-sync mypy
	$(UV) run --no-sync lint-imports
	$(UV) run --no-sync yamllint --strict .
	$(UV) run --no-sync hadolint $$(git ls-files '*Dockerfile')
	$(UV) run --no-sync shellcheck $$(git grep --files-with-matches --extended-regexp '^#!.*[/ ](ba)?sh$$')

# actionlint is a Go program with no package that brings its binary; shellcheck, which it calls, is in .venv.
ACTIONLINT := go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
.PHONY: lint-workflows
lint-workflows: $(UV)
	@$(SYNC)
	@if command -v go >/dev/null; then PATH="$(CURDIR)/.venv/bin:$$PATH" $(ACTIONLINT); \
	  elif [ "$${CI:-}" = true ]; then echo "actionlint cannot run: go is not on PATH" >&2; exit 1; \
	  else echo "actionlint is left out: go is not on PATH"; fi
	@$(UV) run --no-sync zizmor --offline --quiet .github

# Apart from `make check`, as checkov takes half a minute.
MANIFESTS := .build/manifests
TRIVY := trivy config --quiet --exit-code 1 --ignorefile lint/trivyignore.yaml --skip-check-update --skip-version-check \
  --disable-telemetry --table-mode detailed
.PHONY: lint-manifests
lint-manifests: $(UV) ## checkov and trivy over the rendered chart and the image's Dockerfile
	@if ! command -v helm >/dev/null; then echo "checkov and trivy of the chart: helm is not on PATH" >&2; \
	  if [ "$${CI:-}" = true ]; then exit 1; fi; exit 0; fi; \
	$(SYNC); UV_PROJECT_ENVIRONMENT=$(CURDIR)/.venv-lint $(UV) sync --quiet --project lint --locked; \
	rm -rf $(MANIFESTS); PYTHONPATH=tests/support $(UV) run --no-sync python lint/manifests.py $(MANIFESTS); \
	.venv-lint/bin/checkov --config-file lint/checkov.yaml --directory $(MANIFESTS); \
	.venv-lint/bin/$(TRIVY) $(MANIFESTS); .venv-lint/bin/$(TRIVY) image

.PHONY: check
check: lint .tools/helm-docs ## lint, types, imports and the quick unit tests: no server, no cluster
	$(UV) run --no-sync pytest tests/unit -m 'not soak and not slow' --numprocesses 2 --dist loadgroup

# One process is the cluster's, whose tests wait for pods. No coverage of flows, which takes half as much CPU again.
TEST = $(UV) run --no-sync pytest --dist loadgroup
# A test that fails runs once more, and the summary has both: with three processes on two cores, one of a thousand comes
# too late now and then. `make soak` gives no second try.
TWICE = --reruns 1 --reruns-delay 5 -r fEsR
.PHONY: test
test: lint lint-manifests .tools/helm-docs ## every check: those, and with real dbt, a Prefect server, a cluster; TESTS=tests/cluster picks a part
	$(if $(TESTS),,$(TEST) tests/unit --numprocesses 2 --cov)
	$(TEST) $(or $(TESTS),tests --ignore tests/unit) --numprocesses 3 $(TWICE)

# What CI has no time for. SOAK picks a part.
SOAK ?= properties dbt-1.11 ducklake long faults
FAULT_ROUNDS ?= 5
FAULTS ?= (faults or stop or api_away or limits or second_pod or watchdog) and not watchdog_soak
DBT_SEAM := $(addprefix tests/dbt/test_,process.py warm.py precompiled.py installed_dbt.py attempts.py lost_connections.py \
  appended_rows.py) $(addprefix tests/unit/test_,events.py results.py arguments.py)

.PHONY: soak $(addprefix soak-,properties dbt-1.11 ducklake long faults)
soak: $(addprefix soak-,$(SOAK)) ## what is too long for make test: property tests, dbt 1.11, DuckLake, long faults, the fault suite five times

soak-properties: $(UV) ## random graphs, flags and kills, many of them; three flows that meet, twenty times
	@$(SYNC)
	DBTPOD_PROPERTY_EXAMPLES=$${DBTPOD_PROPERTY_EXAMPLES:-100} $(UV) run --no-sync pytest tests/dbt/test_complete_property.py
	DBTPOD_MEETING_ROUNDS=$${DBTPOD_MEETING_ROUNDS:-20} $(UV) run --no-sync pytest tests/server/test_faults.py -k that_meet

soak-dbt-1.11: $(UV) ## the tests of our seam to dbt with the dbt before
	@UV_PROJECT_ENVIRONMENT=.venv-dbt-1.11 $(SYNC)
	@$(UV) pip install --quiet --python .venv-dbt-1.11 "dbt-core>=1.11,<1.12"
	.venv-dbt-1.11/bin/python -m pytest $(DBT_SEAM)

soak-ducklake: $(UV) ## the tests of warehouse.kind ducklake, with an older DuckDB, which has packages of its extensions
	@UV_PROJECT_ENVIRONMENT=.venv-ducklake $(SYNC)
	@$(UV) pip install --quiet --python .venv-ducklake --requirement image/ducklake.txt
	DBTPOD_TEST_DUCKLAKE=1 .venv-ducklake/bin/python -m pytest -m soak tests/server/test_ducklake.py tests/server/test_ducklake_warehouse.py

soak-long: $(UV) ## the tests that wait for minutes
	@$(SYNC)
	$(UV) run --no-sync pytest -m soak --durations=0

soak-faults: $(UV) ## the fault suite on a cluster, again and again, each time on a fresh cluster
	@$(SYNC)
	@for round in $$(seq $(FAULT_ROUNDS)); do echo "fault suite, round $$round of $(FAULT_ROUNDS)"; \
	  $(UV) run --no-sync pytest tests/cluster -k "$(FAULTS)" -m "soak or not soak" --durations=0 || exit 1; done

# PINNED=yes builds with the base images of a release, by digest.
BASES := $(if $(PINNED),$(shell sed -n 's/^[A-Z]/--build-arg &/p' image/bases.env))
# WITH=ducklake adds what that kind of warehouse needs.
EXTRA = $(strip $(EXTRA_PACKAGES) $(if $(WITH),$(shell grep -v '^\#' image/$(WITH).txt)))
BUILD := DOCKER_BUILDKIT=1 docker build --file image/Dockerfile --build-arg EXTRA_PACKAGES="$(EXTRA)" $(BASES) \
  --build-arg VERSION="$(VERSION)" --build-arg REVISION="$(shell git rev-parse HEAD 2>/dev/null || echo unknown)"

.PHONY: base image
base: ## the images that a project's own Dockerfile begins with
	$(BUILD) --target runtime --tag "$(BASE)" .
	$(BUILD) --target build --tag "$(BASE)-build" .

image: ## the demo's image; DBT_PROJECT=path bakes another project in its place
	@rm -rf .build/dbt_project && mkdir -p .build && cp -R "$(DBT_PROJECT)" .build/dbt_project
	$(BUILD) --tag "$(IMAGE)" --build-arg DBT_PROJECT=.build/dbt_project .

.PHONY: up
up: image ## a kind cluster with everything on it, ready to use
	@kind get clusters 2>/dev/null | grep -qx "$(CLUSTER)" || kind create cluster --name "$(CLUSTER)" --config k8s/kind.yaml
	kind load docker-image "$(IMAGE)" --name "$(CLUSTER)"
	helm upgrade --install dbtpod charts/dbtpod --kube-context "kind-$(CLUSTER)" --namespace "$(NAMESPACE)" \
	  --create-namespace --values k8s/values-kind.yaml --wait --timeout 5m

.PHONY: down
down: ## removes that cluster, its data with it
	kind delete cluster --name "$(CLUSTER)"

.PHONY: chart
chart: $(UV) .tools/helm-docs ## the chart's schema and README, from the comments of its values.yaml
	@$(SYNC)
	$(UV) run --no-sync python charts/generate.py
	.tools/helm-docs --chart-search-root charts --sort-values-order file --log-level warning

.PHONY: manifests
manifests: chart ## renders k8s/ from the chart
	k8s/render > k8s/dbtpod.yaml
	k8s/render claims > k8s/storage/claims.yaml

.PHONY: bench
bench: $(UV) ## the performance table, into bench/RESULTS.md; ONLY="nodes warehouse" measures these sections
	@$(SYNC)
	PYTHONPATH=.:tests/support $(UV) run --no-sync python -m bench $(ONLY)

.PHONY: trace
trace: $(UV) ## when each stage of a build in a pod is reached, on a cluster of its own
	@$(SYNC)
	PYTHONPATH=.:tests/support $(UV) run --no-sync python -m bench.trace
