# Two commands do everything on a fresh machine: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Those that `make demo` drops; `make demo DUPLICATES=exact,perceptual,semantic` compares the embeddings as well.
DUPLICATES ?= exact,perceptual
# Where it is set, each process that a test starts compiles all that it imports, for seconds.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: install demo check test test-buckets test-engines test-ecosystem lint docs wheel lock clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'uv>=0.9,<1'
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -m examples.make_demo_shards --output demo/raw
	$(BIN)/python -m pipelines.curate_images --input 'demo/raw/*.tar' --output demo/curated \
	  --clip_model tiny-untrained --min_width 64 --samples_per_shard 100 --duplicates $(DUPLICATES)

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The inner loop: lint, types, rooms, and the fast tests; properties are tried on a fifth of the examples.
check: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow' --hypothesis-profile quick

# All tests against emulated buckets, the long ones too. With FAKE_GCS_SERVER=PATH, GCS is that program of Go's
# (go install github.com/fsouza/fake-gcs-server@latest), which lists in pages.
test-buckets: $(INSTALLED)
	$(BIN)/python -m pytest -m 'buckets or not buckets' tests/buckets

# Flink, Prism and Spark, fetched and built into .engines by Maven and Go: needs Java 17, Maven and Go.
test-engines: $(INSTALLED)
	$(BIN)/python -m pytest -m engines -rP tests/engines

# Other projects' tools read what a job leaves, each in an environment of its own, made from the package index.
# BEAM_CURATOR_ENVIRONMENTS=DIR keeps the environments; BEAM_CURATOR_DATACOMP_RESHARDER=resharder.py is of a clone.
test-ecosystem: $(INSTALLED)
	$(BIN)/python -m pytest -m ecosystem tests/ecosystem

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)
	$(BIN)/mkdocs build --strict

wheel: $(INSTALLED)
	rm -rf dist
	$(BIN)/uv build --wheel --out-dir dist

# The versions that make, CI and the Dockerfile install; users are bound by pyproject.toml alone.
lock: $(INSTALLED)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --extra dev --no-emit-package beam-curator \
	  --no-header --constraint constraints.in --upgrade --output-file constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) demo build dist *.egg-info
