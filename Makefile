# `make` lists the targets. Everything runs in .venv, which `make env` makes from requirements.lock.

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
CORES ?= $(shell nproc 2>/dev/null || echo 2)
# The demo's model is so small that two jobs side by side beat one on two cores.
DEMO_THREADS := --set-threads train_adapter=1 score_benchmark=1 format_chat=1 render_shards=1
# A failed command in a pipe fails the target.
.SHELLFLAGS := -eu -o pipefail -c
# Tests begin as after a plain login: without what this shell was told of temporary folders, caches,
# tokens, threads and this workflow. Certificates, proxies and package settings are the machine's.
# PYTHONDONTWRITEBYTECODE would let each of hundreds of processes compile a thousand modules again.
CLEARED := TMPDIR TEMP TMP NLTK_DATA HF_% TRANSFORMERS_% TOKENIZERS_% OMP_% PYTHONDONTWRITEBYTECODE \
  $(filter-out TUNESMITH_REAL_DATA,$(filter TUNESMITH_%,$(.VARIABLES)))
PLAIN_LOGIN = env $(foreach name,$(filter $(CLEARED),$(.VARIABLES)),-u $(name)) \
  $(if $(BELOW),TMPDIR='$(abspath $(BELOW))')
PYTEST = $(PLAIN_LOGIN) $(1) $(BIN)/python -m pytest

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# Which build of PyTorch: the lock's own, or one that BUILD names on the command line. .venv remembers
# it, so that a later `make` does not undo it. docs/builds.md
REMEMBERED := $(shell cat .venv/build 2>/dev/null)
BUILT := $(or $(if $(findstring command line,$(origin BUILD)),$(BUILD)),$(REMEMBERED),lock)
BACKEND := $(if $(filter-out lock,$(BUILT)),--torch-backend $(BUILT))
LOCK := requirements$(if $(BACKEND),.$(BUILT)).lock

.PHONY: env
env: whole $(LOCK) ## make .venv, mend it, or bring it to the lock (BUILD=cpu, cu126... for another build)
	@cmp -s $(LOCK) .venv/installed.lock || { \
	  echo "Installing $(LOCK) into .venv"; \
	  $(NEED_UV); \
	  $(call SYNC); \
	  echo "$(BUILT)" > .venv/build; \
	  cp $(LOCK) .venv/installed.lock; \
	}
	@test -e .venv/made.json || $(ENVIRONMENT) record .venv
	@test -x $(BIN)/tunesmith || { printf '%s\n' '#!$(CURDIR)/$(BIN)/python' 'import sys' \
	  'sys.path.insert(0, "$(CURDIR)")' 'from scripts.tools.tunesmith import main' 'main()' \
	  > $(BIN)/tunesmith && chmod +x $(BIN)/tunesmith; }

# A .venv that was moved, whose Python is gone, or whose install was killed, is made anew; packages of
# which files are lost are installed again.
.PHONY: whole
whole:
	@test -L .venv || test -e .venv || exit 0; \
	code=0; lost=; \
	if test -e .venv/unfinished; then \
	  echo "The install of .venv was ended before it was done: .venv is made anew"; code=3; \
	elif ! $(BIN)/python -c '' 2> /dev/null; then \
	  echo "The Python of .venv is gone or does not start: .venv is made anew"; code=3; \
	else \
	  lost=$$($(ENVIRONMENT) check .venv) || code=$$?; \
	fi; \
	case $$code in \
	  0) ;; \
	  3) rm -rf .venv;; \
	  4) for one in $$lost; do rm -rf .venv/lib/python*/site-packages/$$one; done; \
	    rm -f .venv/installed.lock;; \
	  *) exit $$code;; \
	esac

ENVIRONMENT = $(BIN)/python -IS scripts/tools/environment.py

# What is killed between these leaves the mark; an error, as without a network, changes nothing.
SYNC = touch .venv/unfinished; \
  $(BIN)/uv pip sync --quiet --python $(BIN)/python $(BACKEND) $(LOCK) || { rm .venv/unfinished; exit 1; }; \
  rm -f .venv/unfinished .venv/made.json

.PHONY: trackers
trackers: env ## add TensorBoard and Weights & Biases to .venv (config: tracking)
	@$(NEED_UV)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group trackers

define NEED_UV
test -x $(BIN)/python || { \
  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
    echo "$(PYTHON) is older than Python 3.11: name a newer one, make env PYTHON=python3.13"; exit 1; }; \
  $(PYTHON) -m venv .venv; \
}; \
test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
endef

COMPILE = $(BIN)/uv pip compile pyproject.toml --group dev --group docs --override overrides.txt \
  --generate-hashes --no-emit-index-url --no-header --quiet

.PHONY: lock
lock: ## resolve requirements.lock anew from pyproject.toml
	$(COMPILE) --universal --upgrade -o requirements.lock

# The same versions of everything but what belongs to CUDA itself.
requirements.%.lock: requirements.lock
	@$(NEED_UV)
	@sed -nE '/^(triton|cuda-|nvidia-)/d; s/^([a-zA-Z0-9._-]+==[^\\]+[^ \\]).*/\1/p' $< > .venv/pins.txt
	$(COMPILE) --python $(BIN)/python --constraint .venv/pins.txt --torch-backend $* -o $@

.PHONY: demo
demo: env ## the embedded default: two fine-tunes and their report, offline, on a CPU
	@$(BIN)/snakemake --profile local --cores $(CORES) $(DEMO_THREADS)
	@echo "Open results/report/index.html"

.PHONY: show
show: env ## show how a file of rows is read (DATA=file, MODEL, TEMPLATE, TRAIN_ON, N, DATASET, RUN, OUT)
	@test -n '$(DATA)' || { echo "make show DATA=mine.jsonl: name the file of rows"; exit 2; }
	@$(BIN)/python -m scripts.tools.show --data '$(DATA)' $(if $(MODEL),--model '$(MODEL)') \
	  $(if $(TEMPLATE),--template '$(TEMPLATE)') $(if $(TRAIN_ON),--train-on '$(TRAIN_ON)') \
	  $(if $(N),--rows '$(N)') $(if $(DATASET),--dataset '$(DATASET)') $(if $(RUN),--run '$(RUN)') \
	  $(if $(OUT),--out '$(OUT)')

.PHONY: check
check: env ## lint, format, types, directions of imports, Snakemake's own lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.tools.lint_workflow

# One thread for each process: they share the cores, and threads that wait for each other spin. One
# process more than cores, since those of Slurm and of whole workflows wait for others' jobs.
SIDE_BY_SIDE := -n $(shell expr $(CORES) + 1) --dist loadfile --no-loadscope-reorder

.PHONY: test
test: env ## all tests but the long ones (BELOW=folder for their files, else the system's /tmp)
	$(call PYTEST,OMP_NUM_THREADS=1) -m "not slow" $(SIDE_BY_SIDE) --durations=15

.PHONY: test-unit
test-unit: env ## the quick tests (TESTS='files or names' for some of them, BELOW=folder)
	$(PYTEST) $(or $(TESTS),tests/unit tests/identity)

.PHONY: test-long
test-long: env ## the tests that take too long for every change (BELOW=folder)
	$(call PYTEST,OMP_NUM_THREADS=1) -m slow -v $(SIDE_BY_SIDE) --durations=15

.PHONY: docs
docs: env ## write the pages that are made from the code
	$(BIN)/python -m scripts.tools.write_config_docs
	$(BIN)/python -m scripts.tools.write_results_docs
	$(BIN)/python -m scripts.tools.write_template_docs
	$(BIN)/python -m scripts.tools.write_readme_parts

.PHONY: site
site: env ## make a site of docs/*.md in site/, with warnings as errors
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --doctree-dir .sphinx docs site
	@echo "Open site/index.html"

.PHONY: gc
gc: env ## list what the config no longer reaches (CONFIG=file, REMOVE=1 to delete it)
	$(BIN)/python -m scripts.tools.upkeep gc $(if $(CONFIG),--configfile $(CONFIG)) $(if $(REMOVE),--remove)

.PHONY: cache-gc
cache-gc: env ## list a shared cache (CACHE=dir, OLDER_THAN=30d, LARGER_THAN=1G, KEEP=50G, REMOVE=1)
	@$(BIN)/python -m scripts.tools.upkeep cache-gc $(if $(CACHE),--cache $(CACHE)) \
	  $(if $(OLDER_THAN),--older-than $(OLDER_THAN)) $(if $(LARGER_THAN),--larger-than $(LARGER_THAN)) \
	  $(if $(KEEP),--keep $(KEEP)) $(if $(GRACE),--grace $(GRACE)) $(if $(REMOVE),--remove)

.PHONY: doctor
doctor: env ## look at this Slurm site, and say what to write into profiles/slurm/site.yaml
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m scripts.tools.doctor

.PHONY: forecast
forecast: env ## what is to be trained: tokens, steps, memory, hours (CONFIG=file, GPU=a100, GPUS=1)
	@$(BIN)/python -m scripts.tools.forecast $(if $(CONFIG),--configfile $(CONFIG)) \
	  $(if $(GPU),--gpu $(GPU)) $(if $(GPUS),--gpus $(GPUS))

.PHONY: bench-demo
bench-demo: env ## seconds of the demo from nothing, and of doing nothing
	$(BIN)/python -m scripts.tools.bench_demo

.PHONY: bench-dag
bench-dag: env ## seconds of planning 100, 1,000 and 3,000 runs, beside bare Snakemake
	$(BIN)/python -m scripts.tools.bench_dag

.PHONY: bench-slurm
bench-slurm: env ## how fast short jobs get to this Slurm, singly, in groups, as arrays (JOBS=500)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m scripts.tools.bench_slurm --jobs $(or $(JOBS),500)

.PHONY: bench-start
bench-start: env ## processor seconds that each program takes to start, beside PyTorch's own (ROUNDS=3)
	$(BIN)/python -m scripts.tools.bench_start --rounds $(or $(ROUNDS),3)

.PHONY: bench-data
bench-data: env ## rows to tokens, beside the bare tokenizer and datasets.map (ROWS=1000000, 4 GB of disk, MODEL)
	$(BIN)/python -m scripts.tools.bench_data --rows $(or $(ROWS),1000000) \
	  $(if $(MODEL),--model $(MODEL))

.PHONY: bench-report
bench-report: env ## compare and report many candidates on MMLU: time, memory, sizes (CANDIDATES=200, SUBJECTS=57, 2 GB of disk)
	$(BIN)/python -m scripts.tools.bench_report --candidates $(or $(CANDIDATES),200) \
	  --subjects $(or $(SUBJECTS),57)

.PHONY: bench-merge
bench-merge: env ## merging: ours, PEFT's, a plain copy (ROUNDS=3, 10 GB of disk)
	$(BIN)/python -m scripts.tools.bench_merge --rounds $(or $(ROUNDS),3)

.PHONY: bench-train
bench-train: env ## training: ours, TRL as it comes, TRL packed (ROWS=96, ROUNDS=3, MODEL)
	$(BIN)/python -m scripts.tools.bench_train --rounds $(or $(ROUNDS),3) --rows $(or $(ROWS),96) \
	  $(if $(MODEL),--model $(MODEL))

.PHONY: bench-score
bench-score: env ## scoring through lm-eval and through ours (QUESTIONS=40 of a subject, MODEL, SAMPLE)
	$(BIN)/python -m scripts.tools.bench_score --questions $(or $(QUESTIONS),40) \
	  $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(MODEL),--model $(MODEL))

.PHONY: bench-bf16
bench-bf16: env ## bfloat16 on a processor: a profile, and ways to be faster (QUESTIONS=48, ROUNDS=3, MODEL)
	$(BIN)/python -m scripts.tools.bench_bf16 --questions $(or $(QUESTIONS),48) \
	  --rounds $(or $(ROUNDS),3) $(if $(MODEL),--model $(MODEL))

.PHONY: bench-gpu-score
bench-gpu-score: env ## scoring on one GPU, Llama 3 8B's shape (SECONDS=240, SAMPLE=64, TINY=1 without a GPU)
	$(BIN)/python -m scripts.tools.bench_gpu_score $(if $(TINY),--tiny) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SAMPLE),--sample $(SAMPLE))

.PHONY: bench-gpu-train
bench-gpu-train: env ## training on one GPU: ours and TRL's (SECONDS=300, TINY=1 without a GPU)
	$(BIN)/python -m scripts.tools.bench_gpu_train $(if $(TINY),--tiny) \
	  $(if $(SECONDS),--seconds $(SECONDS))

.PHONY: bench-generate
bench-generate: env ## generation through lm-eval and through ours (QUESTIONS=32, NEW_TOKENS=64, MODEL)
	$(BIN)/python -m scripts.tools.bench_generate --questions $(or $(QUESTIONS),32) \
	  --new-tokens $(or $(NEW_TOKENS),64) $(if $(MODEL),--model $(MODEL)) \
	  $(if $(SHAPES),--shapes $(SHAPES))

.PHONY: score-exactness
score-exactness: env ## compare with lm-eval on MMLU; goes on where it stopped (DATA=folder, QUESTIONS=n)
	$(BIN)/python -m scripts.tools.score_exactness $(if $(DATA),--data $(DATA)) \
	  $(if $(MODEL),--model $(MODEL)) $(if $(QUESTIONS),--questions $(QUESTIONS))

.PHONY: score-noise
score-noise: env ## how far rounding moves answers: one model in other batches (QUESTIONS, DATA, MODEL)
	$(BIN)/python -m scripts.tools.score_noise --questions $(or $(QUESTIONS),25) \
	  $(if $(DATA),--data $(DATA)) $(if $(MODEL),--model $(MODEL))

.PHONY: mmlu
mmlu: env ## all of MMLU by category for the embedded model (DATA=folder with test/ and dev/)
	$(BIN)/snakemake --profile local --cores $(CORES) --set-threads score_benchmark=1 \
	  --configfile config/examples/mmlu_smollm2.yaml \
	  --config 'benchmarks={"mmlu": {"path": "$(or $(DATA),data/mmlu)"}}'
