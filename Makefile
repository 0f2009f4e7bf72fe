# `make demo` and `make test` do everything on a fresh machine; each makes its environment first (tools/bootstrap), quickly if it is there.

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-compiled compiled mutants fuzz bench lint format lock clean

VENV ?= .venv
# More than cores, since system tests wait much; a file's tests stay together, since its laboratory is built once.
WORKERS ?= 4
# Folders whose packages must be covered by their own tests (tools/cover). The others run without: counting lines doubles their time.
PURE = tests/names tests/policy tests/forwarder tests/nft
# What needs no look into modules: the program is run, or its hot path compared with the slow one.
PLAYED = tests/hot tests/system tests/cases tests/workers
PYTEST ?=
SECONDS ?= 60
MODULES ?=
MUTANTS_AT_ONCE ?= 1
FUZZ_TARGETS ?= wire netlink rules
CASES ?= all
ROUNDS ?= 5
COMPILED = build/compiled

ENTER = . $(VENV)/activate &&

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: ## see it work: pods, an internet and every attempt that must fail
	@tools/bootstrap demo $(VENV)
	@$(ENTER) dnsfw demo

# What failed beside others runs once more, alone: a busy machine is no fault of the program; what fails again has failed.
define RUN
pytest -q -m 'not long' -n $(WORKERS) --dist loadfile $(1) || { \
	echo 'what failed beside others runs once more, alone' >&2; \
	pytest -q -m 'not long' --last-failed --last-failed-no-failures none $(1) $(2); }
endef

test: ## all tests but the long ones; the pure packages' own tests must cover every line and branch of them
	@tools/bootstrap test $(VENV)
ifdef PYTEST
	@$(ENTER) $(call RUN,$(PYTEST))
else
	@$(ENTER) coverage erase
	@$(ENTER) $(call RUN,$(PURE) --cov --cov-context=test --cov-report=,--cov-append)
	@$(ENTER) tools/cover
	@$(ENTER) $(call RUN,$(addprefix --ignore=,$(PURE)))
endif

mutants: ## change the pure packages' code in a copy (mutants/), one thing at a time: which changes does no test notice? More than an hour; a part: MODULES=dnsfw.policy.lease*
	@tools/bootstrap test $(VENV)
	@$(ENTER) mutmut run --max-children $(MUTANTS_AT_ONCE) $(foreach module,$(MODULES),'$(module)')
	@$(ENTER) mutmut results | grep -v 'not checked$$' || echo 'every mutant was noticed'

test-long: ## the long ones only
	@tools/bootstrap test $(VENV)
	@$(ENTER) pytest -q -m long $(PYTEST)

compiled: ## the program with the modules of the hot path as machine code, in build/compiled; `DNSFW_COMPILE=1 pip install .` installs the same
	@tools/bootstrap compile $(VENV)
	@$(ENTER) tools/compile $(COMPILED) $(VENV)

test-compiled: compiled ## the tests that play the program, and those that hold the hot path against the slow one, on the compiled program
	@tools/bootstrap test $(VENV)
	@$(ENTER) export PLAYED=compiled PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR)/tests/support:$(CURDIR)/tests/system && $(call RUN,$(PLAYED))

fuzz: ## hostile bytes against each decoder, SECONDS=60 each; what escapes lies in fuzz/found/, and `python fuzz/…_target.py FILE` repeats it
	@tools/bootstrap test $(VENV)
	@$(ENTER) python -c 'import atheris' 2>/dev/null || python -m pip --disable-pip-version-check install --quiet --require-hashes --prefer-binary -r requirements-fuzz.lock
	@$(ENTER) python fuzz/seeds.py
	@$(ENTER) for target in $(FUZZ_TARGETS); do python fuzz/$${target}_target.py --seconds $(SECONDS) || exit; done

bench: ## side by side with dnsmasq, unbound and CoreDNS, 15 minutes; a part of it: make bench CASES=forwarded,cached ROUNDS=3
	@tools/bootstrap bench $(VENV)
	@$(ENTER) python -c 'import matplotlib' 2>/dev/null || python -m pip install --quiet 'matplotlib>=3.10' || echo 'no matplotlib: no plots' >&2
	@$(ENTER) tools/compile $(COMPILED) $(VENV) || echo 'not compiled: dnsfw is measured as it is' >&2
	@$(ENTER) python -m bench --cases $(CASES) --rounds $(ROUNDS)

lint: ## ruff, mypy --strict, the arrows between packages, shellcheck where it is
	@tools/bootstrap lint $(VENV)
	@$(ENTER) ruff check
	@$(ENTER) ruff format --check
	@$(ENTER) mypy
	@$(ENTER) lint-imports --no-logo
	@$(ENTER) if command -v shellcheck; then shellcheck tools/bootstrap tools/compile tools/cover .ci/run; else echo 'no shellcheck: scripts not checked' >&2; fi

format: ## write the code as ruff formats it
	@tools/bootstrap lint $(VENV)
	@$(ENTER) ruff check --fix
	@$(ENTER) ruff format

# No address of an index stands in a lock file: whoever installs from it brings an index, the hashes say whether it gave the right bytes.
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" pip-compile --quiet --generate-hashes --allow-unsafe --no-strip-extras --all-build-deps \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --annotation-style=line pyproject.toml

lock: ## look for the newest versions that pyproject.toml allows, and lock them
	@tools/bootstrap lint $(VENV)
	@$(ENTER) $(COMPILE) --upgrade --output-file requirements.lock
	@$(ENTER) $(COMPILE) --upgrade --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	@$(ENTER) $(COMPILE) --upgrade --extra fuzz --constraint requirements-dev.lock --output-file requirements-fuzz.lock

clean: ## remove what these commands made
	rm -rf $(VENV) build dnsfw.egg-info mutants .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
