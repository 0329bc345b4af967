# Needs Python 3.10 or newer, pip and make; everything else goes into .venv.
#
#     make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A thread each for the two test workers: torch would start one a core in both.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1
WORKERS := 2

# Of fuzzing, for each target; and which targets, all unless some are named.
SECONDS := 60
TARGETS :=

DEMO := build/demo
ORIGINAL := samples/digits/vit.safetensors
SPEC := samples/digits/vit.yaml
TASK := samples.digits.task:vit
POOLED := $(DEMO)/digits-vit.wpool
INFLATED := $(DEMO)/digits-vit.safetensors

# Shows a command as a user would type it, then runs it.
wpack = @printf '\n$$ wpack %s\n' "$(1)" && $(BIN)/wpack $(1)

.DEFAULT_GOAL := help
.PHONY: help demo test coverage mutation fuzz lint format types clean

help: ## List what there is to make.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

demo: $(VENV)/installed-samples ## Compress a real vision transformer, end to end.
	@rm -rf $(DEMO) && mkdir -p $(DEMO)
	$(call wpack,plan $(ORIGINAL) -s $(SPEC))
	$(call wpack,finetune $(ORIGINAL) -s $(SPEC) -o $(POOLED))
	$(call wpack,verify $(POOLED))
	$(call wpack,inflate $(POOLED) -o $(INFLATED))
	$(call wpack,diff $(POOLED) $(INFLATED))
	$(call wpack,eval $(ORIGINAL) --task $(TASK))
	$(call wpack,eval $(POOLED) --task $(TASK))
	$(call wpack,eval $(INFLATED) --task $(TASK))
	$(call wpack,stats $(ORIGINAL) $(POOLED) --no-tensors)

test: $(VENV)/installed-dev ## Run the tests.
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest -q -n $(WORKERS)

coverage: $(VENV)/installed-dev ## Run the tests; every branch of what must be covered.
	rm -rf build/coverage && mkdir -p build/coverage
	$(TEST_ENVIRONMENT) $(BIN)/python -m coverage run -m pytest -q -n $(WORKERS)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

mutation: $(VENV)/installed-dev $(VENV)/installed-mutation ## Break the code on purpose.
	$(TEST_ENVIRONMENT) nice -n 19 $(BIN)/python -m mutmut run --max-children 1
	$(BIN)/python -m tests.mutation

fuzz: $(VENV)/installed-dev $(VENV)/installed-fuzz ## Breed inputs to break wpack with.
	$(BIN)/python -m fuzz --seconds $(SECONDS) $(TARGETS)

lint: $(VENV)/installed-dev ## Check style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed-dev ## Mend style and formatting.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/installed-dev ## Check the types.
	$(BIN)/mypy

clean: ## Remove what make made.
	rm -rf $(VENV) build dist mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The stamp of an extra is older than pyproject.toml when its dependencies may have
# changed.
$(VENV)/installed-%: pyproject.toml | $(VENV)/bin/python
	@echo "Installing wpack and what it needs into $(VENV): torch is large."
	$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[$*]'
	@touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
