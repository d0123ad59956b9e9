PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test lint types unit oracle bench validate microbenchmarks gate report update clean

KERNEL_SUITES := gemm decode-attention prefill-attention
SAMPLE := --sample 4000 --part-sample 1500 --longest "1 ms"

run: $(VENV)/installed
	$(BIN)/tierscope run --model llama-3.1-8b --hardware h100-sxm --phase decode --batch 1 --context 4096 --report report.html
	@echo "wrote report.html"

test: $(VENV)/tested
	$(MAKE) --jobs 2 lint types unit

lint: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/tested
	$(BIN)/mypy

unit: $(VENV)/tested
	$(BIN)/pytest -n 2 --dist worksteal

oracle: $(VENV)/tested
	$(BIN)/pip install -qq torch==2.13.0 transformers
	$(BIN)/pytest tests/oracle -rs

bench: $(VENV)/installed
	$(BIN)/python benchmarks/run.py

# A fixed draw of kernel rows (three times 4,000, and 1,500 narrow products: seven minutes on two idle cores): fails when
# a cell is not what validation/cells.json says.  `make gate` renews that file; `make report` does too, and writes
# validation/REPORT.md.
validate: $(VENV)/validating
	$(BIN)/tierscope validate $(KERNEL_SUITES) $(SAMPLE) --gate validation/cells.json

gate: $(VENV)/validating
	$(BIN)/tierscope validate $(KERNEL_SUITES) $(SAMPLE) --write-gate validation/cells.json || test $$? = 1

report: $(VENV)/validating
	$(BIN)/tierscope validate $(KERNEL_SUITES) $(SAMPLE) --without all --without-sample 200 --report validation \
	    --write-gate validation/cells.json || test $$? = 1

microbenchmarks: $(VENV)/installed
	$(BIN)/tierscope validate microbenchmarks --report validation

update: $(VENV)/tested
	$(BIN)/pytest tests/golden --update
	$(BIN)/python tests/docs/test_readme_output.py

$(VENV)/made:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq --upgrade pip
	@touch $@

$(VENV)/installed: pyproject.toml setup.cfg | $(VENV)/made
	$(BIN)/pip install -qq --editable .
	@touch $@

$(VENV)/tested: pyproject.toml setup.cfg | $(VENV)/made
	$(BIN)/pip install -qq --editable ".[test,figures,caches]" || { $(BIN)/pip install -qq --editable ".[test,figures]" \
	    && echo "no pycachesim or libcachesim here: their tests will be skipped"; }
	@touch $@

$(VENV)/validating: $(VENV)/installed
	$(BIN)/pip install -qq --editable ".[validation]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
