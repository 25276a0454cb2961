# `make demo` and `make test` first create a virtual environment with what they need.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# The tests that run on every backend: those of which `make test` runs a sample on JAX and PyTorch, and the others.
SMOKE := tests/test_zero_loss.py tests/layers/test_contract.py tests/test_lowering.py
CORE := $(addprefix tests/test_,sampling.py plans.py resampling.py label_encoding.py metrics.py)
PORTABLE := tests/layers tests/saliency tests/models tests/callbacks tests/distribution \
	tests/robustness/test_model.py tests/test_visualization.py tests/test_label_maps.py \
	tests/test_zero_loss_dense.py tests/test_keras_names.py tests/peers $(CORE) --ignore=tests/layers/test_contract.py
# TensorFlow raises its errors; this level hides log lines such as those about a missing GPU.
export TF_CPP_MIN_LOG_LEVEL ?= 3
# Compilation takes most of the time on JAX: do not optimize, and let the workers share compiled programs.
JAX := JAX_DISABLE_MOST_OPTIMIZATIONS=1 JAX_COMPILATION_CACHE_DIR=$(abspath $(VENV))/jax-cache \
	JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1

.PHONY: demo test test-all test-exhaustive fuzz mutants lint docs clean

demo: $(VENV)/.examples
	$(BIN)/python examples/train_cifar.py --dataset digits --method saliencymix+mma --network wideresnet-10-1 \
		--epochs 20 --output runs/digits

# The fast suite: everything on TensorFlow, with samples of large tables; the conventions on JAX and PyTorch.
test: lint
	KERAS_BACKEND=tensorflow $(PYTEST)
	KERAS_BACKEND=torch $(PYTEST) $(SMOKE)
	KERAS_BACKEND=jax $(JAX) $(PYTEST) $(SMOKE)

# The rest: slow tests and larger samples on TensorFlow, slow tests and samples of the other portable tests on PyTorch and
# JAX. Compilation makes JAX the slowest, so it leaves out tests in which the backend matters little.
ON_JAX := tests/models tests/callbacks tests/distribution tests/robustness/test_model.py tests/test_label_maps.py \
	tests/test_zero_loss_dense.py tests/test_keras_names.py $(CORE) \
	$(addprefix tests/layers/test_,label_rules.py random_choice.py follow_plan.py feature_mix_adapt.py pitfalls.py workers.py) \
	$(addprefix --ignore=tests/models/test_,mixing_points.py networks.py preact_resnet.py resnet20.py segmentation.py site_features.py)
SAMPLE := "not valuewise and not pairwise and not exhaustive"
test-all: $(VENV)/.dev
	KERAS_BACKEND=tensorflow $(PYTEST) -m "(slow or valuewise or pairwise) and not exhaustive"
	KERAS_BACKEND=torch $(PYTEST) -m "(slow or valuewise) and not pairwise and not exhaustive" $(SMOKE)
	KERAS_BACKEND=torch $(PYTEST) -m $(SAMPLE) $(PORTABLE)
	KERAS_BACKEND=jax $(JAX) $(PYTEST) -m "(slow or valuewise) and not pairwise and not exhaustive" $(SMOKE)
	KERAS_BACKEND=jax $(JAX) $(PYTEST) -m $(SAMPLE) $(ON_JAX)

# The combinations of the tables that `test-all` leaves out.
test-exhaustive: $(VENV)/.dev
	KERAS_BACKEND=tensorflow $(PYTEST) -m exhaustive
	KERAS_BACKEND=torch $(PYTEST) -m "pairwise or exhaustive" $(SMOKE)
	KERAS_BACKEND=jax $(JAX) $(PYTEST) -m "pairwise or exhaustive" $(SMOKE)
	KERAS_BACKEND=torch $(PYTEST) -m "valuewise or pairwise or exhaustive" $(PORTABLE)
	KERAS_BACKEND=jax $(JAX) $(PYTEST) -m "" $(PORTABLE)

# Random cases: CASES of each test for each of the SEEDS. `test-all` runs 40 of each.
CASES ?= 1000
SEEDS ?= 1 2
fuzz: $(VENV)/.dev
	$(BIN)/python -m benchmarks.fuzz --cases $(CASES) --seeds $(SEEDS) --workers $(WORKERS)

# Faults that are put into the source, and whether a test fails on each. This takes hours.
mutants: $(VENV)/.mutants
	$(BIN)/python -m benchmarks.mutants --workers $(WORKERS) --output docs/results/mutants.json

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, in docs/_build/index.html.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build

# `--no-compile`: Python compiles what is imported; compiling all packages would take a minute more.
$(VENV)/.docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-compile -e ".[docs]" -c constraints.txt
	touch $@

$(VENV)/.examples: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-compile -e ".[examples]" -c constraints.txt
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-compile -e ".[dev]" -c constraints.txt
	touch $@

$(VENV)/.mutants: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-compile -e ".[mutants]" -c constraints.txt
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info
