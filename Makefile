# make demo: a whole search in a few minutes. make test: the tests. Both set up .venv first; Python >= 3.11 is enough.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo test test-fast test-all lint format bench clean

demo: .venv/installed
	$(BIN)/niwaki search examples/digits.yaml

test: .venv/installed
	$(BIN)/pytest --numprocesses 2 --dist loadfile

test-all: .venv/installed
	$(BIN)/pytest -m "" --numprocesses 2 --dist loadfile

test-fast: .venv/installed
	$(BIN)/pytest -m "not slow"

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/installed
	$(BIN)/python benchmarks/determinism.py
	$(BIN)/python benchmarks/driver_overhead.py
	$(BIN)/python benchmarks/metrics_cost.py
	$(BIN)/python benchmarks/probe_speed.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/csg_speed.py
	$(BIN)/python benchmarks/proxy_cost.py
	$(BIN)/python benchmarks/surgery_speed.py
	$(BIN)/python benchmarks/criteria_speed.py
	$(BIN)/python benchmarks/predictor.py benchmarks/tables/digits.parquet benchmarks/tables/signs.parquet
	$(BIN)/python benchmarks/table_search.py benchmarks/tables/digits.parquet benchmarks/tables/signs.parquet
	$(BIN)/python benchmarks/compensation.py
	$(BIN)/python benchmarks/blend_study.py examples/digits.yaml --set training.epochs=10
	$(BIN)/python benchmarks/live.py examples/digits.yaml
	$(BIN)/python benchmarks/strategies.py examples/digits.yaml
	$(BIN)/python benchmarks/losses.py --epochs 12
	$(BIN)/python benchmarks/bar.py
	$(BIN)/python benchmarks/grow_push_prune.py
	$(BIN)/python benchmarks/label_free_masks.py
	$(BIN)/python benchmarks/finish.py

clean:
	rm -rf .venv runs mlflow.db mlartifacts

.venv/installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "niwaki needs Python >= 3.11 on the PATH, or make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

# For machines of a cluster (deploy/README.md): Ray's metrics and job server besides.
.venv/cluster: .venv/installed deploy/cluster.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r deploy/cluster.lock
	@touch $@
