# Everything runs in .venv, which is made on the first call. `make help` lists the targets.
# TORCH chooses another build: make demo TORCH="torch==2.13.0 --index-url ..."
# LOCK pins all versions: make install LOCK=requirements-dev.lock

PYTHON ?= python3
TORCH ?= torch==2.13.0
OLDEST_PYTHON ?= python3.11
OLDEST_TORCH ?= torch==2.11.0
NEWEST_PYTHON ?= python3.13
NEWEST_TORCH ?= torch
VENV ?= .venv
LOCK ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet \
	$(if $(LOCK),--constraint $(LOCK))

# What is installed is remembered in files: a repeated call installs nothing.
TORCH_STAMP := $(VENV)/.torch-$(shell echo '$(TORCH)' | cksum | cut -d ' ' -f 1)
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

PROMPTS ?= "red apple" "smiling cat with heart eyes" "waving hand dark skin tone" "rocket"
CLASSES ?= airplane automobile bird cat deer dog frog horse ship truck
DEMO := out/demo
DATA ?= data/cifar10
DATASETS ?= data
DRAWINGS ?= $(DATASETS)
SWEEPS ?= tuning methods presets finetuning corrections schedules

.DEFAULT_GOAL := help
.PHONY: help install demo samples figures test test-versions test-oldest test-newest check mutants format bench train-cifar10 train-rivals \
	train-classifiers train-emoji train-models gpu-models measure-cifar10 measure-emoji numbers test-browser docs wheel lock hooks

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(DEV_STAMP) ## make .venv with everything for training and development

demo: $(RUN_STAMP) ## generate images with the model that ships with the package
	$(BIN)/demask generate $(PROMPTS) --seed 0 --out $(DEMO)
	@echo "The images are in $(DEMO); contact_sheet.png shows them all."

test: $(DEV_STAMP) ## run the tests
	$(BIN)/python -m pytest

test-versions: test-oldest test-newest ## run the tests on the oldest and the newest Python and torch

# $(call test-on,PYTHON,TORCH,VENV): the tests in an environment of their own
test-on = if $(1) -c '' 2>/dev/null; then \
	$(MAKE) test PYTHON='$(1)' TORCH='$(2)' VENV='$(3)' LOCK=; \
	else echo "skipped: there is no $(1) here, so $(2) was not tested on it"; fi

test-oldest:
	+@$(call test-on,$(OLDEST_PYTHON),$(OLDEST_TORCH),.venv-oldest)

test-newest:
	+@$(call test-on,$(NEWEST_PYTHON),$(NEWEST_TORCH),.venv-newest)

test-browser: $(DEV_STAMP) ## test the page in headless Chromium; DEMASK_SHOTS=FOLDER keeps what it sees
	$(PIP) 'playwright>=1.48'
	command -v chromium || command -v chromium-browser || command -v google-chrome || apt-get install -y chromium
	DEMASK_BROWSER=1 $(BIN)/python -m pytest tests/browser

check: $(DEV_STAMP) ## check format, lint, types, imports, numbers and the tracked files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/circles.py
	$(BIN)/python .ci/tree.py
	$(BIN)/python .ci/lock.py --check
	$(BIN)/python .ci/links.py
	$(BIN)/python benchmarks/write_numbers.py --check
	$(BIN)/python benchmarks/write_models.py --check
	$(BIN)/python benchmarks/mutants.py --check

mutants: $(DEV_STAMP) ## plant the faults of benchmarks/mutants.toml, in an hour; MUTANTS="--area editing" is shorter
	$(BIN)/python benchmarks/mutants.py $(MUTANTS)

docs: numbers ## write the pages that come from other files, check all links, and build the site into out/site
	$(BIN)/python .ci/links.py
	$(BIN)/mkdocs build --strict

wheel: $(DEV_STAMP) ## build wheel and source archive into dist
	$(BIN)/python -m build --outdir dist

lock: $(DEV_STAMP) ## write requirements-dev.lock from what is installed
	$(BIN)/python .ci/lock.py

hooks: $(DEV_STAMP) ## run the quick checks before every commit, the slow ones before every push
	$(BIN)/pre-commit install --install-hooks --hook-type pre-commit --hook-type pre-push

format: $(DEV_STAMP) ## format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEV_STAMP) ## measure speed and memory on this machine, best left alone; BENCH=--quick is shorter
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/full_size.py $(BENCH)
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/meissonic_memory.py

samples: $(RUN_STAMP) ## generate the images of the pages again
	$(BIN)/demask generate --prompts recipes/emoji/prompts.txt --seed 0 --out out/emoji
	cp out/emoji/contact_sheet.png docs/emoji.png
	$(BIN)/demask generate --model cifar10 --class $(CLASSES) -n 60 --seed 0 --out out/samples
	cp out/samples/contact_sheet.png docs/samples.png

train-cifar10: RUN ?= runs/cifar10
train-cifar10: $(DEV_STAMP) ## train that model; DATA is the folder of train.parquet and test.parquet
	$(BIN)/demask train tokenizer --recipe recipes/cifar10/tokenizer.toml \
		--data $(DATA)/train.parquet --held-out $(DATA)/test.parquet --out $(RUN)
	$(BIN)/demask train masked --recipe recipes/cifar10/masked.toml \
		--data $(DATA)/train.parquet --held-out $(DATA)/test.parquet --out $(RUN)
	$(BIN)/demask train self-guidance --recipe recipes/cifar10/self_guidance.toml --model $(RUN) \
		--data $(DATA)/train.parquet --held-out $(DATA)/test.parquet --out $(RUN)

train-rivals: RUN ?= runs/cifar10
train-rivals: $(DEV_STAMP) ## train what cifar10 is compared with: a Token-Critic, a weaker model
	$(BIN)/demask train token-critic --recipe recipes/cifar10/token_critic.toml --model cifar10 \
		--data $(DATA)/train.parquet --held-out $(DATA)/test.parquet --out $(RUN)
	$(BIN)/demask train masked --recipe recipes/cifar10/weaker.toml \
		--tokenizer src/demask/weights/cifar10/tokenizer.safetensors \
		--data $(DATA)/train.parquet --held-out $(DATA)/test.parquet --out $(RUN)_weaker
	cp $(RUN)_weaker/transformer.safetensors $(RUN)/weaker.safetensors

train-classifiers: $(DEV_STAMP) ## train the two networks that cifar10 is measured with
	for name in conv patches; do $(BIN)/demask train classifier \
		--recipe recipes/cifar10/classifier_$$name.toml --data $(DATA)/train.parquet \
		--held-out $(DATA)/test.parquet --out runs/classifier_$$name || exit 1; done

measure-cifar10: RUN ?= runs/cifar10
measure-cifar10: $(DEV_STAMP) ## measure cifar10 again and write docs/numbers.md, in hours on 2 cores
	for name in $(SWEEPS); do $(BIN)/demask sweep \
		--recipe recipes/sweeps/cifar10_$$name.toml --model cifar10 --dtype bfloat16 \
		--aux $(RUN)/token_critic.safetensors $(RUN)/weaker.safetensors \
		--reference $(DATA)/train.parquet --out runs/sweeps/cifar10_$$name || exit 1; \
		$(BIN)/python benchmarks/read_results.py runs/sweeps/cifar10_$$name/results.json \
			results/cifar10_$$name.json || exit 1; done
	$(BIN)/demask bench --front --recipe recipes/sweeps/cifar10_front.toml --model cifar10 \
		--reference $(DATA)/train.parquet --out runs/sweeps/cifar10_front
	$(BIN)/python benchmarks/read_results.py runs/sweeps/cifar10_front/results.json \
		results/cifar10_front.json
	$(BIN)/python benchmarks/cifar10_numbers.py --held-out $(DATA)/test.parquet \
		--result results/cifar10.json
	$(MAKE) numbers

measure-emoji: $(DEV_STAMP) ## measure emoji again and write docs/numbers.md; DRAWINGS as for train-emoji
	$(BIN)/python benchmarks/emoji_numbers.py --data $(DRAWINGS) --result results/emoji.json
	$(MAKE) numbers

numbers: $(DEV_STAMP) ## write docs/numbers.md from the result files in results
	$(BIN)/python benchmarks/write_numbers.py
	$(BIN)/python benchmarks/write_models.py

figures: $(RUN_STAMP) ## generate the comparisons of the pages again; DATA is the folder of test.parquet
	$(BIN)/demask figure seeds --model cifar10 -n 20 --out docs/self_guidance_seeds.png \
		--variant "plain, 36 steps: steps=36 choice_temperature=25 guidance_scale=1" \
		"self-guidance, 18 steps: steps=18 choice_temperature=12 temperature=1.1 guidance_scale=2 guidance_schedule=constant guidance_method=self_guidance" \
		"classifier-free, 18 steps: steps=18 choice_temperature=25 guidance_scale=9 guidance_schedule=ramp"
	$(BIN)/demask figure one-step --model cifar10 --data $(DATA)/test.parquet \
		--out docs/self_guidance_one_step.png
	$(BIN)/demask figure data --data scenes:0,24 --out docs/scenes.png

train-emoji: RUN ?= runs/emoji
train-emoji: $(DEV_STAMP) ## train the default model; DRAWINGS is the folder of noto-emoji and emoji-styles
	$(BIN)/demask train tokenizer --recipe recipes/emoji/tokenizer.toml \
		--data emoji:$(DRAWINGS),13 --held-out emoji:$(DRAWINGS),held-out --out $(RUN)
	$(BIN)/demask train masked --recipe recipes/emoji/masked.toml \
		--data emoji:$(DRAWINGS),13 --held-out emoji:$(DRAWINGS),held-out --out $(RUN)
	$(BIN)/demask models shrink $(RUN) --out $(RUN)/small

train-models: $(DEV_STAMP) ## train all shipped models in the background; DATASETS has cifar10, noto-emoji, emoji-styles
	recipes/train_models.sh $(DATASETS)

gpu-models: MINUTES ?= 11
gpu-models: OUT ?= out/gpu
gpu-models: ## train all models on a GPU in MINUTES, with no network; folders DATASETS, WHEELS and OUT
	$(PYTHON) recipes/gpu/gpu_models.py --minutes $(MINUTES) --data $(DATASETS) \
		$(if $(WHEELS),--wheels $(WHEELS)) --out $(OUT)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Demask needs Python 3.11 or newer: make PYTHON=/path/to/it" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# torch goes first, so that the choice of its build is not left to the packages that need it
$(TORCH_STAMP): | $(BIN)/python
	$(PIP) $(TORCH)
	@rm -f $(VENV)/.torch-* && touch $@

$(RUN_STAMP): $(TORCH_STAMP) pyproject.toml
	$(PIP) --editable .
	@touch $@

$(DEV_STAMP): $(TORCH_STAMP) pyproject.toml
	$(PIP) --editable '.[dev]'
	@touch $@ $(RUN_STAMP)
