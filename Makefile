# `make demo` and `make test` are all a new user needs: each makes its virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EVERYWHERE := tests/test_zero_loss.py tests/layers tests/saliency tests/models tests/distribution \
	tests/robustness/test_model.py
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-tensorflow test-jax test-torch lint clean

demo: $(VENV)/.examples
	$(BIN)/python examples/train_cifar.py --dataset digits --method saliencymix+mma --network wideresnet-10-1 \
		--epochs 20 --output runs/digits

test: lint test-tensorflow test-torch test-jax

test-tensorflow: $(VENV)/.dev
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -n 2

# All but the example, the documents and the ground floor, which know no backend.
test-torch: $(VENV)/.dev
	KERAS_BACKEND=torch $(BIN)/python -m pytest -n 2 $(EVERYWHERE)

# Compiling takes most of this: without optimisation, and once for both processes.
test-jax: export JAX_DISABLE_MOST_OPTIMIZATIONS = 1
test-jax: export JAX_COMPILATION_CACHE_DIR = $(abspath $(VENV))/jax-cache
test-jax: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = 0
test-jax: export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES = -1
test-jax: $(VENV)/.dev
	KERAS_BACKEND=jax $(BIN)/python -m pytest -n 2 $(EVERYWHERE)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/.examples: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e ".[examples]" -c constraints.txt
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e ".[dev]" -c constraints.txt
	touch $@

clean:
	rm -rf $(VENV) runs build dist *.egg-info
