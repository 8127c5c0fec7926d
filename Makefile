# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format bench speed clean

demo: .venv/.demo  ## train LeNet and AlexNet on handwritten digits and compare them
	$(BIN)/alexnet demo
	@echo "Here alexnet is $(BIN)/alexnet, until you type: source $(BIN)/activate"

test: .venv/.dev  ## everything that needs no GPU
	$(BIN)/pytest

check: .venv/.dev  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev  ## the photos recipe beside torchvision's alexnet; hours, needs PHOTOS=folder
	$(BIN)/python benchmarks/photos.py $(PHOTOS)

speed: .venv/.dev  ## the compiled loops, a training step and a prediction beside plain PyTorch; minutes
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/step.py

clean:
	rm -rf .venv build *.egg-info

$(BIN)/pip:
	$(PYTHON) -m venv .venv

.venv/.demo: $(BIN)/pip pyproject.toml
	@echo "installing alexnet and what it needs into .venv (torch is large)"
	$(BIN)/pip install --quiet --editable '.[digits]'
	@touch $@

.venv/.dev: $(BIN)/pip pyproject.toml
	@echo "installing alexnet and its development tools into .venv (torch is large)"
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@
