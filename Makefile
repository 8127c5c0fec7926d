# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

# Modules on which it hangs that data and runs are what they are said to be.
PROVEN := data/images data/dataset data/shards rng runs/checkpoint storage/checksums
# Modules that must be as in 2012; they take longer, so each gets some minutes, and the next call goes on.
FAITHFUL := kernels/norm_pool_loops kernels/crop_loops kernels/operators models/layers models/alexnet models/cifar \
	models/fusion models/shapes data/augment data/pixel_statistics training/optim training/schedule recipes/recipe \
	recipes/config recipes/ingredients
MINUTES ?= 10
comma := ,
space := $(subst x,,x x)

# A file stays in one process, because its tests share what is slow to make.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
FAST := -m "not slow"
# Known once there is a .venv: whether its Python is the lowest that is supported, and a newer one of this machine.
OLDEST = $(shell $(BIN)/python -c 'import sys; print("yes" * (sys.version_info[:2] == (3, 11)))')
NEWER = $(shell $(BIN)/python harness/other_python.py --find)
NEWER_VENV = .venv-$(notdir $(NEWER))

.PHONY: demo test test-here environments test-fast test-lowest test-python test-newer slow-tests check format coverage pinned mutation lessons bench bench-photos study figures messages gpu-pack clean

demo: .venv/.demo  ## train LeNet and AlexNet on handwritten digits and compare them
	$(BIN)/alexnet demo
	@echo "Here alexnet is $(BIN)/alexnet, until you type: source $(BIN)/activate"

test: .venv/.dev  ## everything that needs no GPU; then the fast part with the lowest versions, and on a newer Python without numba
	$(MAKE) --jobs 2 test-here environments
	$(MAKE) test-lowest
	$(MAKE) test-newer

test-here: .venv/.dev
	$(BIN)/pytest $(PARALLEL)

# Beside the tests, which wait for processes and browsers often enough to leave the time that installing takes.
environments: .venv/.dev
	$(if $(OLDEST),$(MAKE) .venv-lowest/.dev)
	$(if $(NEWER),$(MAKE) $(NEWER_VENV)/.dev PYTHON=$(NEWER))

test-fast: .venv/.dev  ## a minute, for while one edits: all but the tests in tests/slow.txt
	$(BIN)/pytest $(PARALLEL) $(FAST)

test-lowest: .venv/.dev  ## the fast part with the lowest versions that pyproject.toml allows, on the lowest Python
	$(if $(OLDEST),$(MAKE) .venv-lowest/.dev && .venv-lowest/bin/python -m pytest $(PARALLEL) $(FAST) -W ignore::DeprecationWarning,\
	@echo "the lowest versions are tried with Python 3.11, which is not that of .venv")

test-python: .venv-$(notdir $(PYTHON))/.dev  ## the fast part with another Python: make test-python PYTHON=python3.13
	.venv-$(notdir $(PYTHON))/bin/python -m pytest $(PARALLEL) $(FAST)

test-newer: .venv/.dev  ## the fast part without numba on the newest Python that this machine has, if it is newer than that of .venv
	$(if $(NEWER),ALEXNET_TESTS_WITHOUT=numba $(MAKE) test-python PYTHON=$(NEWER),\
	@echo "there is no newer Python here to try the tests with: install Python 3.13" && \
	ALEXNET_TESTS_WITHOUT=numba $(BIN)/pytest $(PARALLEL) $(FAST) tests/kernels tests/models)

slow-tests: .venv/.dev  ## tests/slow.txt anew, on a machine that does nothing else
	$(BIN)/python -m pytest $(PARALLEL) -p harness.slow_tests

check: .venv/.dev  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: .venv/.dev  ## every branch of the PROVEN modules is taken by their own tests
	$(BIN)/coverage run --include=$(subst $(space),$(comma),$(PROVEN:%=alexnet/%.py)) -m pytest $(foreach m,$(PROVEN),tests/$(dir $(m))test_$(notdir $(m)).py)
	$(BIN)/coverage report

pinned: .venv/.dev  ## ingredients of 2012 made wrong one by one: the tests that docs/fidelity.md names must notice; ten minutes
	$(BIN)/python -m studies.robustness.pinned

mutation: .venv/.dev  ## which mutants of the PROVEN and FAITHFUL modules their own tests kill; results/mutation.json; hours, goes on where it ended
	$(BIN)/python -m studies.robustness.mutation $(PROVEN)
	$(BIN)/python -m studies.robustness.mutation --minutes $(MINUTES) --work build/mutation $(FAITHFUL)

lessons: .venv/.dev  ## execute all lessons: notebooks, pages and slides in both languages, build/lessons; SMALL=1: a quick look
	$(BIN)/python -m alexnet.lessons.build --out build/lessons $(if $(SMALL),--small)

bench: .venv/.dev  ## all speeds, and benchmarks/RESULTS.md; half an hour; with PHOTOS=folder (which has train/) the data path too
	for script in kernels step inference ten_crop start sharing growth; do $(BIN)/python benchmarks/$$script.py || exit 1; done
	$(if $(PHOTOS),for script in data prepare; do $(BIN)/python benchmarks/$$script.py $(PHOTOS)/train || exit 1; done)
	$(if $(PHOTOS),$(BIN)/python benchmarks/waiting.py $(PHOTOS))
	$(BIN)/python benchmarks/results_table.py

bench-photos: .venv/.dev  ## the photos recipe beside torchvision's; hours, needs PHOTOS=folder
	$(BIN)/python benchmarks/photos.py $(PHOTOS)
	$(BIN)/python benchmarks/time_to_accuracy.py $(PHOTOS)

study: .venv/.dev  ## one study anew, or what is missing of it: make study NAME=figure_1 DATA=cifar10 (hours; see its --help)
	$(BIN)/python -m studies.paper.$(NAME) $(DATA) $(if $(TOGETHER),--together $(TOGETHER))

figures: .venv/.dev  ## results/*.svg and docs/claims.md from the rows of the studies
	$(BIN)/python -m studies.claims.figures
	$(BIN)/python -m studies.claims.claims

messages: .venv/.dev  ## the messages of the source into the Chinese catalogue; says how many are not translated
	$(BIN)/python -m harness.messages
	$(BIN)/python -m harness.errors_page

gpu-pack: .venv/.dev  ## what a machine with a GPU and without a network needs, into .gpu/: make gpu-pack CIFAR10=folder CLOTHING=folder
	$(BIN)/python -m studies.gpu pack $(if $(CIFAR10),--cifar10 $(CIFAR10)) $(if $(CLOTHING),--clothing $(CLOTHING))

clean:
	rm -rf .venv .venv-* build *.egg-info

$(BIN)/pip:
	$(PYTHON) -m venv .venv

.venv/.demo: $(BIN)/pip pyproject.toml
	@echo "installing alexnet and what it needs into .venv (torch is large)"
	$(BIN)/pip install --quiet --editable '.[digits,serve]'
	@touch $@

.venv/.dev: $(BIN)/pip pyproject.toml
	@echo "installing alexnet and its development tools into .venv (torch is large)"
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

.venv-lowest/.dev: .venv/.dev harness/lowest_versions.py
	@echo "installing the lowest versions that alexnet allows into .venv-lowest (torch is large)"
	$(BIN)/python -m venv .venv-lowest
	$(BIN)/python harness/lowest_versions.py > .venv-lowest/requirements.txt
	.venv-lowest/bin/pip install --quiet --no-compile --requirement .venv-lowest/requirements.txt --editable .
	@touch $@

# What is compiled for one Python is installed anew; CUDA's libraries and what is pure Python serve both.
.venv-python%/.dev: .venv/.dev harness/other_python.py
	@echo "installing torch and whatever else is compiled for $(notdir $(PYTHON)) into $(@D), beside .venv"
	$(PYTHON) -m venv $(@D)
	$(BIN)/python harness/other_python.py --compiled > $(@D)/requirements.txt
	$(@D)/bin/pip install --quiet --no-deps --no-compile --requirement $(@D)/requirements.txt
	for folder in $(@D)/lib/python*/site-packages; do printf '%s\n' $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') $(CURDIR) > $$folder/rest.pth; done
	@touch $@
