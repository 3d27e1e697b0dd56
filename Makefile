# Two commands on a machine with python3 and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

PYTEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal
# As on most laptops, whose processors have no bfloat16.
LAPTOP := ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2

INSTALL := $(BIN)/pip install --quiet --constraint constraints.txt --editable

$(BIN)/pip:
	$(PYTHON) -m venv .venv

.venv/base: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) .
	touch $@

.venv/dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) '.[dev]'
	touch .venv/base $@

.PHONY: demo test
demo: .venv/base
	@$(BIN)/nanov2t invert \
		"She moved to London to study medicine." \
		"My father repairs old clocks." \
		"The train to Vienna was late again."

test: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)
	$(LAPTOP) $(PYTEST) tests/train/test_recipes.py \
		tests/search/test_evolution.py::test_a_sentence_comes_back_exactly
