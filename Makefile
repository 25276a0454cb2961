# `make demo` and `make test` are all a new user needs: each makes its virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-tensorflow test-jax test-torch lint clean

demo: $(VENV)/.examples
	$(BIN)/python examples/train_cifar.py --dataset digits --method saliencymix+mma --network wideresnet-10-1 \
		--epochs 20 --output runs/digits

test: lint test-tensorflow test-torch test-jax

test-tensorflow: $(VENV)/.dev
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -n 2

# The tests that need no TensorFlow: the package's import, the contract, the zero-loss probe, gradients by the pixels.
test-torch: $(VENV)/.dev
	KERAS_BACKEND=torch $(BIN)/python -m pytest -n 2 tests/test_zero_loss.py tests/layers tests/saliency tests/models \
		tests/robustness/test_model.py

# JAX compiles every case anew, so it runs the probe, the detectors and the attributions.
test-jax: $(VENV)/.dev
	KERAS_BACKEND=jax $(BIN)/python -m pytest -n 2 tests/test_zero_loss.py tests/saliency tests/models/test_attribution.py \
		tests/robustness/test_model.py

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
