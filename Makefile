# Bare `make` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TFLITE := .venv-tflite
CONTENDERS := .venv-bench
FUZZ := .venv-fuzz
FLEET := .venv-fleet
# Seconds for each decoder in `make fuzz`.
FUZZ_S ?= 60
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
# Recordings for tests and benchmarks; see README, "Recordings".
MILLWRIGHT_DATA ?= $(firstword $(wildcard ../shared/data))
export MILLWRIGHT_DATA
export PATH := $(PATH):/usr/sbin
ARGS ?=
DATA ?=
# Tests run beside each other: many of them wait for brokers and processes, so there is one worker more than cores.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 \
  $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

# $(call need,program,Debian package): install the package when the program is missing.
define need
	command -v $(1) >/dev/null || { $(SUDO) apt-get update -q && $(SUDO) DEBIAN_FRONTEND=noninteractive apt-get install -y -q $(2); }
endef

# The tests start a PostgreSQL of their own. Debian's package would make and start a cluster when it is installed; for
# as long as that takes, a file of ours tells it not to.
NO_CLUSTER := /etc/postgresql-common/createcluster.d/millwright.conf
define need-postgres
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || { \
	  $(SUDO) mkdir -p $(dir $(NO_CLUSTER)); \
	  echo 'create_main_cluster = false' | $(SUDO) tee $(NO_CLUSTER) >/dev/null; \
	  trap '$(SUDO) rm -f $(NO_CLUSTER)' EXIT; \
	  $(SUDO) apt-get update -q && $(SUDO) DEBIAN_FRONTEND=noninteractive apt-get install -y -q postgresql; }
endef

# The collection as its users get it: built, and installed from its tarball. Tests and playbooks run this form.
COLLECTIONS := var/fleet/collections
COLLECTION_FILES := $(shell find ansible -type f ! -path '*/.ansible/*' ! -name '*.pyc' ! -name '* *')
# Nothing of the fleet's tools asks a server on the internet.
ANSIBLE := ANSIBLE_HOME=$(CURDIR)/var/fleet/ansible ANSIBLE_COLLECTIONS_PATH=$(CURDIR)/$(COLLECTIONS) \
  PATH=$(CURDIR)/$(FLEET)/bin:$$PATH

# What boots machines for the fleet's tests.
define need-machines
	$(call need,debootstrap,debootstrap); $(call need,systemd-nspawn,systemd-container); \
	$(call need,ssh,openssh-client); $(call need,ip,iproute2)
endef

.PHONY: help demo test test-fleet check screenshots lint collection role-readmes wheelhouse types bench bench-detection bench-naming bench-quantisation bench-delivery bench-hub test-brokers fuzz lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 25

demo: $(VENV)/.ready ## the whole loop, told live; DATA=folder for real recordings, ARGS="--exit --json FILE"
	$(BIN)/python -m demo $(if $(DATA),--data $(DATA)) $(ARGS)

test: $(VENV)/.ready $(TFLITE)/.ready $(FLEET)/.ready $(COLLECTIONS)/.ready ## everything: lint, types, all tests, real brokers; WORKERS=n
	@$(call need,mosquitto,mosquitto)
	@$(call need,chromium,chromium fonts-dejavu-core)
	@$(call need,curl,curl)
	@$(need-machines)
	@$(need-postgres)
	$(MAKE) --no-print-directory lint types
	$(PYTEST) $(ARGS)

test-fleet: $(VENV)/.ready $(FLEET)/.ready $(COLLECTIONS)/.ready ## hub and three gateways on booted Debian 12, all that happens to them; root
	@$(need-machines)
	@$(call need,cc,gcc libc6-dev)
	$(BIN)/python -m pytest -s -x -m fleet tests/fleet $(ARGS)

test-brokers: $(VENV)/.ready ## one delivery, unchanged, on Mosquitto, amqtt, RabbitMQ and NATS; what each lacks
	@$(call need,mosquitto,mosquitto)
	@$(call need,rabbitmq-server,rabbitmq-server)
	@$(call need,nats-server,nats-server)
	$(BIN)/python -m pytest -m brokers tests/brokers $(ARGS)

check: $(VENV)/.ready $(TFLITE)/.ready ## lint, types and the quick tests
	@$(call need,mosquitto,mosquitto)
	@$(call need,curl,curl)
	@$(call need,ssh-keygen,openssh-client)
	@$(need-postgres)
	$(MAKE) --no-print-directory lint types
	$(PYTEST) -m "not slow and not broker and not browser" $(ARGS)

screenshots: $(VENV)/.ready ## every page at desk and phone width into var/screenshots, small ones into docs/
	@$(call need,chromium,chromium fonts-dejavu-core)
	$(BIN)/python -m tests.pages.screenshots $(ARGS)

lint: $(VENV)/.ready var/fleet/.linted ## ruff: rules and format; ansible-lint when something of the collection changed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

role-readmes: $(FLEET)/.ready ## the README of every Ansible role, from its argument_specs.yml
	$(FLEET)/bin/python -m cloud_hub.fleet readmes

wheelhouse: $(FLEET)/.ready ## signed archives to install from without internet; PLATFORMS=all, ARGS="--kinds gateway"
	@$(call need,ssh-keygen,openssh-client)
	$(FLEET)/bin/python -m cloud_hub.fleet build $(if $(PLATFORMS),--platforms "$(PLATFORMS)") $(ARGS)

collection: $(COLLECTIONS)/.ready ## the Ansible collection, built and installed into var/fleet/collections

types: $(VENV)/.ready ## mypy, strict
	$(BIN)/mypy

bench: $(VENV)/.ready ## benchmarks, as ratios within one run
	@$(call need,mosquitto,mosquitto)
	$(BIN)/python -m tests.benchmarks

bench-detection: $(VENV)/.ready $(CONTENDERS)/.ready ## quality, time and memory beside PyOD and River; ARGS="--json FILE"
	$(BIN)/python -m tests.benchmarks.detection --python $(CONTENDERS)/bin/python $(ARGS)

bench-naming: $(VENV)/.ready ## which fault is named on simulated machines, and what the confidence is worth; ARGS="--json FILE"
	$(BIN)/python -m tests.benchmarks.naming $(ARGS)

bench-quantisation: $(VENV)/.ready ## AUC float, plain int8 and every rung; heads on stand-in clips; ARGS="--json FILE"
	$(BIN)/python -m tests.benchmarks.quantisation $(ARGS)

fuzz: $(FUZZ)/.ready ## every decoder that reads from the network, coverage-guided; FUZZ_S=seconds for each
	names=$$($(FUZZ)/bin/python -c 'from tests.fuzz.targets import TARGETS; print(*TARGETS)'); \
	for name in $$names; do \
	  mkdir -p var/fuzz/$$name; \
	  $(FUZZ)/bin/python -m tests.fuzz.harness $$name -max_total_time=$(FUZZ_S) -rss_limit_mb=1024 -timeout=10 \
	    -artifact_prefix=var/fuzz/$$name- var/fuzz/$$name; \
	done

bench-delivery: $(VENV)/.ready ## bytes, time and memory of delivery beside its peers; ARGS="--json FILE"
	@$(call need,mosquitto,mosquitto)
	@$(call need,rauc,rauc)
	@$(call need,swupdate,swupdate)
	@$(call need,mksquashfs,squashfs-tools)
	@$(call need,dbus-daemon,dbus-daemon)
	$(BIN)/python -m tests.benchmarks.delivery $(ARGS)
	$(BIN)/python -m tests.benchmarks.rollout_fleet

bench-hub: $(VENV)/.ready ## events stored per second, the pages' queries behind a large fleet; ARGS="--json FILE"
	@$(call need,mosquitto,mosquitto)
	@$(need-postgres)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.hub $(ARGS)

lock: $(VENV)/.ready ## resolve all dependencies anew into requirements/
	$(BIN)/uv pip compile pyproject.toml --extra edge --extra hub --extra sim --extra dev --constraint requirements/pip.in \
	  --python-version 3.11 --universal --generate-hashes --no-header -o requirements/lock.txt
	$(BIN)/uv pip compile pyproject.toml --extra edge-tflite --python-version 3.11 \
	  --generate-hashes --no-header -o requirements/lock-tflite.txt
	$(BIN)/uv pip compile pyproject.toml --extra bench --constraint requirements/lock.txt --python-version 3.11 \
	  --universal --generate-hashes --no-header -o requirements/lock-bench.txt
	$(BIN)/uv pip compile pyproject.toml --extra fuzz --constraint requirements/lock.txt --python-version 3.11 \
	  --generate-hashes --no-header -o requirements/lock-fuzz.txt
	$(BIN)/uv pip compile pyproject.toml --extra fleet --constraint requirements/lock.txt --python-version 3.11 \
	  --universal --generate-hashes --no-header -o requirements/lock-fleet.txt

clean: ## remove what these targets made
	rm -rf $(VENV) $(TFLITE) $(CONTENDERS) $(FUZZ) $(FLEET) var .mypy_cache .ruff_cache .hypothesis

$(VENV)/.ready: requirements/lock.txt pyproject.toml
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q python3-venv; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check "$$(sed -nE 's/^(uv==[0-9.]+).*/\1/p' requirements/lock.txt)"
	$(BIN)/uv pip install -q --compile-bytecode --require-hashes -r requirements/lock.txt
	$(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	touch $@

# The other TFLite runtime needs numpy 1, so it lives in an environment of its own.
$(TFLITE)/.ready: requirements/lock-tflite.txt pyproject.toml | $(VENV)/.ready
	$(PYTHON) -m venv $(TFLITE)
	$(BIN)/uv pip install -q --python $(TFLITE)/bin/python --require-hashes -r requirements/lock-tflite.txt
	touch $@

# What users would otherwise pick, in an environment of its own: nothing of it comes near ours.
$(CONTENDERS)/.ready: requirements/lock-bench.txt | $(VENV)/.ready
	$(PYTHON) -m venv $(CONTENDERS)
	$(BIN)/uv pip install -q --compile-bytecode --python $(CONTENDERS)/bin/python --require-hashes -r requirements/lock-bench.txt
	touch $@

# Its wheels are for Linux on x86-64 and CPython only.
$(FUZZ)/.ready: requirements/lock-fuzz.txt | $(VENV)/.ready
	$(PYTHON) -m venv $(FUZZ)
	$(BIN)/uv pip install -q --compile-bytecode --python $(FUZZ)/bin/python --require-hashes -r requirements/lock-fuzz.txt
	touch $@

# Ansible and its lint want versions of their own; nothing of them comes near ours.
$(FLEET)/.ready: requirements/lock-fleet.txt | $(VENV)/.ready
	$(PYTHON) -m venv $(FLEET)
	$(BIN)/uv pip install -q --python $(FLEET)/bin/python --require-hashes -r requirements/lock-fleet.txt
	touch $@

$(COLLECTIONS)/.ready: $(FLEET)/.ready $(COLLECTION_FILES)
	rm -rf $(COLLECTIONS) var/fleet/millwright-fleet-*.tar.gz
	mkdir -p var/fleet
	$(ANSIBLE) ansible-galaxy collection build ansible --output-path var/fleet --force >/dev/null
	$(ANSIBLE) ansible-galaxy collection install --offline -p $(COLLECTIONS) var/fleet/millwright-fleet-*.tar.gz >/dev/null
	touch $@

# Ten seconds and more, so only when the collection is another than the one that passed.
var/fleet/.linted: $(COLLECTIONS)/.ready
	cd ansible && $(ANSIBLE) NO_COLOR=1 ansible-lint -q --offline --strict
	touch $@
