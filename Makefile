# What a newcomer needs is `make up`; `make help` tells the rest.
.DEFAULT_GOAL := help
.PHONY: help up test check coverage down clean lock bench bench-scim
# Images of containers often set it. Every process of a run (there are hundreds) would then compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
READY := .venv/.ready
LOCK := $(BIN)/uv --quiet pip compile pyproject.toml --universal --generate-hashes --no-header --no-annotate

help: ## say what there is (this)
	@echo 'Caretree. Needs: make, Python 3.11 or 3.12, Maven (for Keycloak, once).'
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 14
	@echo
	@echo 'What decides, from the environment:'
	@echo '  PYTHON          the Python to make .venv from'
	@echo '  CARETREE_PORT   the port of the API (8000, or a free one where that is taken)'
	@echo '  DATABASE_URL    a PostgreSQL 18 of yours (an administrator'"'"'s URL) for the embedded one'
	@echo '  REDIS_URL       a Valkey or Redis of yours'
	@echo '  KEYCLOAK_URL    a Keycloak of yours, with KEYCLOAK_ADMIN_CLIENT_ID and KEYCLOAK_ADMIN_CLIENT_SECRET'
	@echo '  KEYCLOAK_HOME   an unpacked Keycloak, to spare the download'
	@echo '  PATIENTS        the size of `make bench` (500000)'

up: $(READY) ## start everything, fill the demo world, serve; Ctrl-C stops what it started
	@exec $(BIN)/caretree dev up

test: $(READY) ## all checks and all tests, against servers of their own (under .caretree/test)
	@exec $(BIN)/python -m dev.checks --all

check: $(READY) ## the fast half: format, lint, types, imports, tests that need no server
	@exec $(BIN)/python -m dev.checks

coverage: $(READY) ## all tests once more, measuring which branches they take; twice the time
	@exec $(BIN)/python -m dev.checks --coverage

down: $(READY) ## stop all servers of this checkout
	@exec $(BIN)/caretree dev down

clean: $(READY) ## stop all and delete .caretree/: databases, passwords, Keycloak (.venv stays)
	@exec $(BIN)/caretree dev clean

bench: $(READY) ## measure against hand-written SQL; writes .caretree/bench.json
	@exec $(BIN)/caretree dev bench

bench-scim: $(READY) ## measure the door of directories at 50,000 users, beside the stock core
	@exec $(BIN)/caretree dev bench-scim

lock: $(READY) ## choose new versions of all packages; writes both lock files
	$(LOCK) --upgrade -o requirements.lock
	$(LOCK) --upgrade --group dev --constraint requirements.lock -o requirements-dev.lock

$(READY): requirements-dev.lock pyproject.toml dev/venv.sh
	@sh dev/venv.sh $@
