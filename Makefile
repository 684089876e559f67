# Every verb of the project. `make` alone lists them.
# Everything is installed in .venv; a stamp in it is renewed only when what it was made from changes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
PYTHONS ?= $(PYTHON)
IMAGE ?= factorization-machines
TORCH ?= true
BASE_IMAGE ?=
WHEELS ?=
PYTEST_ARGS ?=
SOAK_SECONDS ?= 600
CRASH_RUNS ?= 200
FUZZ_SECONDS ?= 60
FUZZ_ARGS ?=
NOTEBOOK_ARGS ?=
CLANG ?= clang

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' fm_core/__init__.py)
EXTENSION_SOURCES := $(shell find fm_core -name '*.pyx' -o -name '*.pxi' -o -name '*.pxd' -o -name '*.h')

.PHONY: help
help:  ## list all targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- the environment -------------------------------------------------------------------------

$(VENV)/.created: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    f"Python {sys.version.split()[0]} is too old: set PYTHON to one of at least 3.11")'
	@echo "creating $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --no-compile --constraint constraints.txt pip setuptools wheel Cython
	@touch $@

# FM_EXTENSIONS=0: they are built beside it, below, by what is known of their sources' times.
# --no-compile: Python compiles what is used, when it is first used.
$(VENV)/.installed: $(VENV)/.created pyproject.toml container/pyproject.toml
	@echo "installing the project and its tools"
	FM_EXTENSIONS=0 PYTHONWARNINGS=ignore $(PIP) install --no-compile --constraint constraints.txt \
	    --no-build-isolation --editable '.[dev,progress]' --editable ./container
	@touch $@

$(VENV)/.extensions: RENEWED = $(and $(wildcard $@),$(filter setup.py,$?))
$(VENV)/.extensions: $(VENV)/.created setup.py $(EXTENSION_SOURCES)
	@echo "building the extensions"
	$(if $(RENEWED),CYTHON_FORCE_REGEN=1) $(BIN)/python setup.py --quiet build_ext --inplace $(if $(RENEWED),--force)
	@touch $@

$(VENV)/.built: $(VENV)/.installed $(VENV)/.extensions
	@touch $@

# pip waits and Cython has one thread, while a processor is free: both at once, where nothing else is asked for.
.PHONY: develop
ifeq ($(MAKECMDGOALS),develop)
develop:  ## create .venv, install the project in it, build the extensions
	@$(MAKE) --no-print-directory --jobs=2 $(VENV)/.built
else
develop: $(VENV)/.built
endif

# --- checks ----------------------------------------------------------------------------------

.PHONY: lint
lint: $(VENV)/.installed  ## ruff, mypy, cython-lint, codespell, import-linter, hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint $$(find fm_core -name '*.pyx' -o -name '*.pxi' -o -name '*.pxd')
	$(BIN)/codespell
	$(BIN)/lint-imports
	if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile Dockerfile.gpu; else echo "hadolint has no build for this machine"; fi

.PHONY: format
format: $(VENV)/.installed  ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The tests of a file stay in one process, where they share what they have made.
TEST_PROCESSES ?= 2
BY_FILES = -n $(TEST_PROCESSES) --dist loadfile

.PHONY: test
test: $(VENV)/.built  ## run the tests (PYTEST_ARGS adds arguments; TEST_PROCESSES=0 for a debugger)
	$(BIN)/python -m pytest $(BY_FILES) $(PYTEST_ARGS)

# A copy of the tree, so that the checkout's own extensions stay as they are. Left out are a test of the
# plain NumPy reference alone, one of pyarrow, whose C++ exceptions end a process that preloads libasan,
# and those that limit the address space, of which the sanitizer takes terabytes. (Fake stacks, detect_stack_use_after_return, are off: GCC does not align
# a vector of 64 bytes on them.)
ASAN := build/asan
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1
.PHONY: test-asan
test-asan: $(VENV)/.installed  ## build the extensions with address and undefined-behaviour checks, and run their tests
	mkdir -p $(ASAN)
	rm -rf $(ASAN)/tests
	tar --create --exclude='*.so' --exclude='*.c' --exclude=__pycache__ \
	    fm_core container docs tests setup.py pyproject.toml README.md LICENSE NOTICE | tar --extract --directory $(ASAN)
	cd $(ASAN) && CFLAGS='$(SANITIZE)' LDFLAGS='$(SANITIZE)' \
	    $(CURDIR)/$(BIN)/python setup.py --quiet build_ext --inplace --parallel 2
	cd $(ASAN) && LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
	    UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc $(CURDIR)/$(BIN)/python -m pytest $(BY_FILES) \
	    -p no:cacheprovider -p no:faulthandler -k 'not references_gradient and not a_bomb_is_refused' \
	    --ignore tests/fm_core/formats/tables/test_encoder.py --ignore tests/fm_core/formats/tables/test_lists.py \
	    --ignore tests/fm_core/formats/tables/test_arrow_types.py tests/fm_core/test_public_calls.py tests/fm_core/kernels tests/fm_core/formats \
	    tests/container/serving $(PYTEST_ARGS)

.PHONY: crash-test
crash-test: $(VENV)/.built  ## kill CRASH_RUNS (200) jobs at random moments, resume them, and compare their models; stop a job of 2 GB
	$(BIN)/python -m tests.crash.crash --runs $(CRASH_RUNS)
	$(BIN)/python -m tests.crash.large

.PHONY: soak
soak: $(VENV)/.built  ## load a server for SOAK_SECONDS (600) while workers are killed and models are loaded and unloaded
	$(BIN)/python -m tests.soak.soak --seconds $(SOAK_SECONDS)

# The decoders under libFuzzer (of the atheris package) and the address sanitizer. They are compiled a
# second time, by clang, into a folder of their own; the sanitizer itself is preloaded.
FUZZ := build/fuzz
FUZZ_CYTHON := -3 -X boundscheck=False,wraparound=False,cdivision=True,initializedcheck=False,binding=True
FUZZ_CLANG := -c -fPIC -g -O1 -fno-omit-frame-pointer -fsanitize=address,fuzzer-no-link -Wno-everything
FUZZ_SOURCES := $(shell find fm_core/formats -name "*.pyx") tests/fuzz/_core.pyx

.venvs/fuzz/.installed: tests/fuzz/requirements.txt constraints.txt | $(VENV)/.created
	$(BIN)/python -m venv .venvs/fuzz
	.venvs/fuzz/bin/python -m pip --quiet --disable-pip-version-check install \
	    --constraint constraints.txt --requirement tests/fuzz/requirements.txt
	@touch $@

$(FUZZ)/tests/fuzz/_core.so: fm_core/formats/recordio/_decode.pyx
$(FUZZ)/tests/fuzz/_core.so $(FUZZ)/fm_core/formats/recordio/_decode.so: fm_core/formats/recordio/_message.pxi fm_core/formats/recordio/varints.h
$(FUZZ)/fm_core/formats/text/_text.so: fm_core/formats/text/digits.h
$(FUZZ)/%.so: %.pyx | $(VENV)/.created
	@command -v $(CLANG) >/dev/null || { echo "make fuzz needs clang: apt-get install clang, or set CLANG"; exit 1; }
	@mkdir -p $(@D)
	$(BIN)/cython $(FUZZ_CYTHON) $< -o $(FUZZ)/$*.c
	$(CLANG) $(FUZZ_CLANG) -Ifm_core/formats/recordio -Ifm_core/formats/text -I$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))') \
	    $(FUZZ)/$*.c -o $(FUZZ)/$*.o
	$(CLANG) -shared $(FUZZ)/$*.o -o $@

.PHONY: fuzz
fuzz: $(VENV)/.built .venvs/fuzz/.installed $(FUZZ_SOURCES:%.pyx=$(FUZZ)/%.so)  ## search for input that breaks a decoder, FUZZ_SECONDS (60) for each
	.venvs/fuzz/bin/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

.PHONY: test-mxnet
test-mxnet: $(VENV)/.built .venvs/mxnet/.installed  ## compare with MXNet, the built-in's engine
	$(BIN)/python -m pytest tests/mxnet $(PYTEST_ARGS)

.PHONY: test-sdk
test-sdk: $(VENV)/.built .venvs/sdk/.installed  ## train on data and answer requests that the SageMaker SDK (version 2) writes
	FM_SDK_PYTHON=$(CURDIR)/.venvs/sdk/bin/python $(BIN)/python -m pytest tests/sdk tests/contract/test_serve_sdk.py $(PYTEST_ARGS)

.PHONY: test-mlflow
test-mlflow: $(VENV)/.built .venvs/mlflow/.installed  ## log a model to MLflow and load it again
	.venvs/mlflow/bin/python -m pytest tests/examples/test_mlflow.py $(PYTEST_ARGS)

.PHONY: test-local-mode
test-local-mode: $(VENV)/.built .venvs/sdk/.installed .venvs/sdk3/.installed  ## train and serve in the image through the SageMaker SDKs' local mode
	$(BIN)/python -m pytest -m image tests/local_mode $(PYTEST_ARGS)

.PHONY: test-clients
test-clients: $(VENV)/.built .venvs/clients/.installed  ## send requests to the server from HTTP clients of several languages
	FM_CLIENTS_PYTHON=$(CURDIR)/.venvs/clients/bin/python $(BIN)/python -m pytest tests/clients $(PYTEST_ARGS)

.PHONY: test-torch
test-torch: $(VENV)/.built .venvs/torch/.installed  ## run the tests that need PyTorch, without a GPU
	.venvs/torch/bin/python -m pytest tests/torch tests/container/training/test_gpus.py $(PYTEST_ARGS)

.PHONY: test-cluster
test-cluster: $(VENV)/.built .venvs/torch/.installed  ## run the tests of several hosts, each a process
	.venvs/torch/bin/python -m pytest tests/cluster $(PYTEST_ARGS)

.PHONY: test-moments
test-moments: $(VENV)/.built .venvs/torch/.installed  ## pause, cut off and stop hosts at 40 random moments each (as root: network namespaces)
	for what in stops pauses cuts; do .venvs/torch/bin/python -m tests.cluster.long $$what $(MOMENTS_ARGS) || exit 1; done

BASE ?= 6f779ad
COMPARE_ARGS ?=
.PHONY: compare
compare: $(VENV)/.built  ## run the same jobs, requests and commands with the commit BASE and with the working tree, and compare the results
	$(BIN)/python -m tools.compare --base $(BASE) $(COMPARE_ARGS)

# --- use -------------------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/.built  ## train and serve a model of real data, through the SageMaker contract
	$(BIN)/python local_test/demo.py

local_test/test_dir/input/data: $(VENV)/.built local_test/make_data.py
	$(BIN)/python local_test/make_data.py
	@touch $@

.PHONY: local-train
local-train: local_test/test_dir/input/data  ## train on the small tree of local_test, without Docker
	local_test/train_local.sh

.PHONY: local-serve
local-serve: $(VENV)/.built  ## serve the model of local-train on port 8080, without Docker
	local_test/serve_local.sh

.PHONY: docs
docs: $(VENV)/.built  ## renew the tables of docs/ that are generated from declarations
	$(BIN)/python docs/make_tables.py

.PHONY: docs-site
docs-site: .venvs/docs/.installed  ## build the documentation as a site with search in build/site; a broken link fails it
	NO_MKDOCS_2_WARNING=1 .venvs/docs/bin/mkdocs build --strict --quiet
	@echo "open build/site/index.html; search needs a server: python3 -m http.server --directory build/site"

.venvs/docs/.installed: docs/requirements.txt
.venvs/notebooks/.installed: examples/requirements.txt
.PHONY: notebooks
notebooks: $(VENV)/.built .venvs/notebooks/.installed  ## run the notebooks of examples/, and store their output (NOTEBOOK_ARGS=--check: only run them)
	.venvs/notebooks/bin/python examples/run_notebooks.py $(NOTEBOOK_ARGS)

.PHONY: bench
bench: $(VENV)/.built  ## run every benchmark (benchmarks/README.md says what each shows)
	for benchmark in train pipeline decode draw predict serving checkpoint bayes quality; do $(BIN)/python benchmarks/$$benchmark.py; done
	if [ -x .venvs/torch/bin/python ]; then .venvs/torch/bin/python benchmarks/cluster.py; \
	else echo "left out: benchmarks/cluster.py, which needs the PyTorch of make bench-peers"; fi

.venvs/clients/.installed: tests/clients/requirements.txt
.venvs/mlflow/.installed: tests/examples/requirements.txt constraints.txt
.venvs/mxnet/.installed: tests/mxnet/requirements.txt
.venvs/sdk/.installed: tests/sdk/requirements.txt
.venvs/sdk3/.installed: tests/local_mode/requirements-v3.txt
.venvs/tools/.installed: tools/requirements.txt
.venvs/torch/.installed: benchmarks/requirements-torch.txt
.venvs/implicit/.installed: benchmarks/requirements-implicit.txt
.venvs/myfm/.installed: benchmarks/requirements-myfm.txt
.venvs/rankfm/.installed: benchmarks/requirements-rankfm.txt .venvs/rankfm/finite.so
.venvs/rankfm/finite.so: benchmarks/rankfm_finite.c
	mkdir -p $(@D)
	$(CC) -O2 -shared -fPIC $< -o $@ -lm
.venvs/clients/.installed .venvs/docs/.installed .venvs/implicit/.installed .venvs/mlflow/.installed .venvs/mxnet/.installed .venvs/sdk/.installed .venvs/sdk3/.installed .venvs/tools/.installed .venvs/torch/.installed .venvs/myfm/.installed .venvs/notebooks/.installed .venvs/rankfm/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip --quiet --disable-pip-version-check install --requirement $<
	@touch $@

.PHONY: bench-peers
bench-peers: .venvs/implicit/.installed .venvs/mxnet/.installed .venvs/torch/.installed .venvs/myfm/.installed .venvs/rankfm/.installed  ## create the environments of the solvers that benchmarks compare with

.PHONY: annotate
annotate: $(VENV)/.installed  ## write Cython's annotated listings (yellow: calls of Python) next to the sources
	$(BIN)/cython -3 --annotate $$(find fm_core -name '*.pyx')

# --- packages --------------------------------------------------------------------------------

# Each of PYTHONS gets a wheel; auditwheel names the glibc from which on it runs, and needs Linux.
.PHONY: wheels
wheels: .venvs/tools/.installed  ## build wheels for PYTHONS, that of `container`, and the source distributions, in dist/
	PATH="$(CURDIR)/.venvs/tools/bin:$$PATH" .venvs/tools/bin/python tools/wheels.py build dist $(PYTHONS)

.PHONY: test-wheels
test-wheels: .venvs/tools/.installed  ## install the wheels of `make wheels` in new environments, and run tests there
	.venvs/tools/bin/python tools/wheels.py test dist $(PYTHONS)

# On x86-64, by GCC's cross compiler and qemu; tools/aarch64.py says what it needs.
.PHONY: wheel-arm
wheel-arm: .venvs/tools/.installed  ## build the wheels for 64-bit ARM, in dist/
	PATH="$(CURDIR)/.venvs/tools/bin:$$PATH" .venvs/tools/bin/python tools/aarch64.py build dist build/aarch64

.PHONY: test-arm
test-arm: .venvs/tools/.installed  ## run the kernels' tests with that wheel, under qemu
	.venvs/tools/bin/python tools/aarch64.py test dist build/aarch64

# Debian's musl-tools and musl-dev; tools/musl.py says the rest.
.PHONY: wheel-musl
wheel-musl: .venvs/tools/.installed  ## build the library's wheels for musl (Alpine) and PYTHONS, in dist/
	.venvs/tools/bin/python tools/musl.py build dist $(PYTHONS)

MUSL_PYTHON ?= musl-python
.PHONY: test-musl
test-musl: .venvs/tools/.installed  ## run the kernels' tests with such a wheel, with MUSL_PYTHON, a CPython linked to musl
	.venvs/tools/bin/python tools/musl.py test dist $(MUSL_PYTHON)

# Wheels whose compiler this machine lacks are left out, with a line that says so.
.PHONY: release
release: wheels test-wheels  ## build everything for a package index in dist/, with hashes and a bill of materials; publish nothing
	if command -v aarch64-linux-gnu-gcc >/dev/null; then $(MAKE) wheel-arm; \
	else echo "left out: the wheel for 64-bit ARM (tools/aarch64.py says what it needs)"; fi
	if command -v musl-gcc >/dev/null; then $(MAKE) wheel-musl; \
	else echo "left out: the wheel for musl (tools/musl.py says what it needs)"; fi
	.venvs/tools/bin/python tools/bill.py --packages dist
	cd dist && sha256sum factorization_machines* bill.json > SHA256SUMS

.venvs/oldest/.installed: pyproject.toml container/pyproject.toml tools/oldest.py $(VENV)/.built
	rm -rf .venvs/oldest
	$(PYTHON) -m venv .venvs/oldest
	$(BIN)/python tools/oldest.py > .venvs/oldest/constraints.txt
	.venvs/oldest/bin/python -m pip --quiet --disable-pip-version-check install --only-binary :all: \
	    --constraint .venvs/oldest/constraints.txt $$(sed 's/==.*//' .venvs/oldest/constraints.txt) \
	    hypothesis pytest pytest-timeout pytest-xdist
	@touch $@

# The extensions are those of the checkout: they use nothing of NumPy's.
.PHONY: test-oldest
test-oldest: .venvs/oldest/.installed  ## run tests with the lowest versions that pyproject.toml allows
	.venvs/oldest/bin/python -m pytest $(BY_FILES) -W ignore::pytest.PytestRemovedIn10Warning -m "not image and not slow" \
	    tests/fm_core/artifact tests/fm_core/formats tests/fm_core/report tests/fm_core/tabular \
	    tests/fm_core/test_estimators.py tests/fm_core/test_public_names.py tests/container/serving \
	    tests/contract/test_serve_process.py tests/contract/test_train.py $(PYTEST_ARGS)

LABELS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
	    --build-arg CREATED=$$(date --utc +%Y-%m-%dT%H:%M:%SZ) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE))

.PHONY: image
image: .venvs/tools/.installed  ## build the image with Docker, and its bill of materials (IMAGE, TORCH, WHEELS, BASE_IMAGE: docs/how-to/image.md)
	docker build $(LABELS) --build-arg TORCH=$(TORCH) \
	    $(if $(WHEELS),--build-context wheels=$(WHEELS)) --tag $(IMAGE) . || { echo "the image was not built; if" \
	    "PyTorch's index was not reached: \`make image-wheels image WHEELS=build/wheels\` takes PyTorch by this machine's" \
	    "pip, and \`make image TORCH=false\` leaves it out, for jobs of one host" >&2; exit 1; }
	.venvs/tools/bin/python tools/bill.py $(IMAGE) build/image

.PHONY: audit
audit: .venvs/tools/.installed  ## look up known vulnerabilities of the pinned versions on PyPI; report if there is no network
	.venvs/tools/bin/python tools/audit.py constraints.txt

.PHONY: image-hashes
image-hashes: $(VENV)/.created  ## renew the hashes of what the images install, after constraints.txt has changed
	$(BIN)/python tools/hashes.py

# The wheels of `make wheel-arm` take the place of Dockerfile's stage `build`, so nothing is compiled by an emulator.
.PHONY: image-arm
image-arm: wheel-arm  ## build the image for 64-bit ARM, to serve and to train on one host (IMAGE names it, with -arm64 after that)
	rm -rf build/image-arm && mkdir -p build/image-arm/wheels
	cp dist/factorization_machines-*_aarch64.whl dist/factorization_machines_container-*.whl build/image-arm/wheels
	docker build --platform linux/arm64 $(LABELS) --build-arg TORCH=false --build-context build=build/image-arm \
	    --tag $(IMAGE)-arm64 . || { echo "the image was not built; if the error is 'exec format error', the engine's" \
	    "machine needs qemu for arm64: docs/how-to/image.md#for-64-bit-arm" >&2; exit 1; }

# For a machine whose builds cannot reach PyTorch's own index, but whose pip is told of another place.
.PHONY: image-wheels
image-wheels: $(VENV)/.created  ## download PyTorch's wheel to build/wheels, with this machine's pip, for WHEELS=build/wheels
	$(PIP) download --no-deps --dest build/wheels torch==$$(sed -n 's/^torch==//p' constraints.txt)+cpu

.PHONY: image-gpu
image-gpu: .venvs/tools/.installed  ## build the image for GPU instances, with PyTorch for CUDA, and its bill (IMAGE names it, with -gpu after that)
	docker build $(LABELS) --file Dockerfile.gpu $(if $(WHEELS),--build-context wheels=$(WHEELS)) --tag $(IMAGE)-gpu . \
	    || { echo "the image was not built; if PyTorch's index was not reached: \`make image-wheels-gpu image-gpu" \
	    "WHEELS=build/wheels-gpu\` takes PyTorch and CUDA by this machine's pip" >&2; exit 1; }
	.venvs/tools/bin/python tools/bill.py $(IMAGE)-gpu build/image-gpu

# `===` is the version as the package index has it, which is a build for CUDA, and no local one such as +cpu.
.PHONY: image-wheels-gpu
image-wheels-gpu: $(VENV)/.created  ## download PyTorch's wheel for CUDA and its dependencies (3 GB) to build/wheels-gpu
	$(PIP) download --dest build/wheels-gpu --constraint constraints.txt \
	    torch===$$(sed -n 's/^torch==//p' constraints.txt)

.PHONY: test-image
test-image: $(VENV)/.built  ## build the image and test it with a Docker engine
	$(BIN)/python -m pytest -m image tests/image $(PYTEST_ARGS)

.PHONY: test-image-arm
test-image-arm: $(VENV)/.built  ## test the image of `make image-arm` under qemu: training and serving
	FM_IMAGE=$(IMAGE)-arm64 $(BIN)/python -m pytest -m image -k 'not avx2' tests/image/test_train.py \
	    tests/image/test_serve.py $(PYTEST_ARGS)

# Not in CI: the image takes 3 GB of downloads. PyTorch's tests in it, on the CPU; what runs them is mounted.
.PHONY: test-image-gpu
test-image-gpu: $(VENV)/.created  ## test the image of `make image-gpu`: PyTorch for CUDA, and the results of training on GPUs
	rm -rf build/test-gpu
	$(PIP) install --constraint constraints.txt --target build/test-gpu pytest pytest-timeout hypothesis
	docker run --rm --network none --volume $(CURDIR)/build/test-gpu:/with:ro --volume $(CURDIR)/tests:/checkout/tests:ro \
	    --volume $(CURDIR)/pyproject.toml:/checkout/pyproject.toml:ro --workdir /checkout --env PYTHONPATH=/with \
	    --entrypoint python $(IMAGE)-gpu -m pytest -p no:cacheprovider \
	    tests/torch tests/container/training/test_gpus.py $(PYTEST_ARGS)

.PHONY: clean
clean:  ## remove everything that make created, including .venv
	rm -rf $(VENV) build dist *.egg-info local_test/work .hypothesis .pytest_cache .mypy_cache .ruff_cache
	rm -rf local_test/test_dir/input/data local_test/test_dir/model local_test/test_dir/output
	find fm_core container tests local_test benchmarks -name __pycache__ -prune -exec rm -rf {} +
	find fm_core \( -name '*.so' -o -name '*.c' -o -name '*.html' \) -delete
