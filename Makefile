# Every target makes .venv when it is not there. Needs Python 3.11 or newer, make and pip; nothing else.
PYTHON ?= python3
BIN := .venv/bin
DATA ?= data
DATA_FLAGS = --data $(DATA) $(if $(filter data,$(DATA)),--download)
HOST ?= 127.0.0.1
PORT ?= 3000
# cpu or gpu: which ONNX Runtime is installed here; for `make container`, which image is built.
VARIANT ?= cpu
RUNTIME := $(if $(filter container,$(MAKECMDGOALS)),$(if $(wildcard .venv/.gpu),gpu,cpu),$(VARIANT))
INIT ?= imagenet
SEED ?= 0

serve: .venv/.serving ## answer over HTTP; HOST=127.0.0.1 PORT=3000, VARIANT=gpu for a machine with an NVIDIA GPU
	$(BIN)/alexnet serve --host $(HOST) --port $(PORT)

test: .venv/.dev ## all tests, on two CPUs; those that need the full data set or a browser skip and say so; OPTIONS=--cov
	$(BIN)/pytest -n 2 --dist loadfile $(OPTIONS)

check: .venv/.dev ## format, lint, types, imports, and known vulnerabilities where PyPI can be asked
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo && $(BIN)/python -m deploy.audit

train: .venv/.dev ## the published run, from torchvision's weights, into runs/
	$(BIN)/alexnet train $(DATA_FLAGS)

REPRODUCED := published$(if $(filter-out 0,$(SEED)),-seed-$(SEED))
PUBLISHED := docs/runs/$(REPRODUCED)
# A new run, or the one that is there, resumed.
run = $(BIN)/alexnet train $(if $(wildcard runs/$(1)/last.pt),--resume runs/$(1),--output runs/$(1) $(2)) $(DATA_FLAGS)

reproduce: .venv/.dev ## the published run: trained or resumed, evaluated, and compared in docs/development/reproduction.md; SEED=1 for another beside it
	$(call run,$(REPRODUCED),--init $(INIT) --seed $(SEED))
	$(BIN)/alexnet export runs/$(REPRODUCED) --output runs/$(REPRODUCED)/model.onnx
	$(BIN)/alexnet evaluate runs/$(REPRODUCED)/model.onnx --predictions $(DATA_FLAGS) --output $(PUBLISHED)/test
	$(BIN)/alexnet evaluate runs/$(REPRODUCED)/model.onnx --predictions $(DATA_FLAGS) --output $(PUBLISHED)/validation --split validation
	cp runs/$(REPRODUCED)/config.json runs/$(REPRODUCED)/metrics.csv $(PUBLISHED)
	$(BIN)/alexnet report

OTHERS = $(if $(EXTRA),--extra $(EXTRA)) $(if $(OUTLIERS),--outliers $(OUTLIERS))
IMPROVED := runs/improved/best.pt
ROBUST := runs/robust/best.pt
TEACHERS := --teacher $(ROBUST) --teacher $(IMPROVED)
model: .venv/.dev ## the shipped model from its teacher to its card, in hours; EXTRA=DIR and OUTLIERS=DIR to train with, PHOTOS=DIR and OOD="DIR ..." to measure
	$(call run,teacher,--recipe teacher)
	$(call run,improved,--recipe improved --teacher runs/teacher/best.pt --init $(INIT))
	$(call run,robust,--recipe robust --init $(IMPROVED) --teacher $(IMPROVED) $(OTHERS))
	$(call run,small,--recipe small --init $(ROBUST) $(TEACHERS) $(OTHERS))
	$(BIN)/alexnet compress runs/small --fine-tune-steps 600 $(DATA_FLAGS) --output runs/small/model.onnx \
		$(if $(PHOTOS),--photos $(PHOTOS))
	$(call run,small-all,--recipe small --epochs 3 --learning-rate 0.0005 --validation-images 0 --init runs/small/best.pt \
		$(TEACHERS) $(OTHERS))
	$(BIN)/alexnet compress runs/small-all --calibration-from runs/small/model.onnx --fine-tune-steps 600 --latency \
		--release $(DATA_FLAGS) $(if $(SOURCES),--sources "$(SOURCES)")
	$(BIN)/alexnet evaluate --checkpoint runs/small-all $(DATA_FLAGS) $(addprefix --ood ,$(OOD)) $(if $(PHOTOS),--photos $(PHOTOS))
	$(BIN)/alexnet evaluate --corruptions quick $(DATA_FLAGS)
	$(BIN)/alexnet card $(DATA_FLAGS)
	$(BIN)/python -m tools.readme

evaluate: .venv/.dev ## measure the committed model on the 10,000 test images
	$(BIN)/alexnet evaluate $(DATA_FLAGS)

fuzz: .venv/.dev ## 6,000 broken images and requests against the real service, ten minutes at most; then `attack`
	$(BIN)/python -m benchmarks.reliability fuzz
	$(BIN)/python -m benchmarks.reliability attack

attack: .venv/.dev ## ordinary requests while others attack, a minute for each attack, within 512 MiB
	$(BIN)/python -m benchmarks.reliability attack

bench: .venv/.dev ## speed beside other servers, a verdict per target, docs/guide/benchmarks.md; QUICK=--quick for minutes less
	$(BIN)/python -m benchmarks.serving $(QUICK)
	$(BIN)/python -m benchmarks.inference $(QUICK)
	$(BIN)/python -m benchmarks.evaluate $(QUICK) --data $(DATA)
	$(BIN)/python -m benchmarks.training $(QUICK)
	$(BIN)/python -m benchmarks.startup $(QUICK)
	$(BIN)/python -m benchmarks.report

container: .venv/.serving .venv/.sbom ## a container image with docker or podman; VARIANT=gpu for CUDA, PYTHON_IMAGE=...@sha256:... for the base
	$(BIN)/python -m deploy.container $(VARIANT) $(if $(PYTHON_IMAGE),--opt build-arg=PYTHON_IMAGE=$(PYTHON_IMAGE)) $(CONTAINER_OPTIONS)

# --no-compile: Python compiles what it imports, a quarter of the space.
.venv/.serving: requirements/serving.txt pyproject.toml .venv/.$(RUNTIME)
	$(BIN)/pip install --quiet --no-compile --require-hashes -r $< -r requirements/$(RUNTIME).txt
	$(BIN)/pip install --quiet --no-deps -e . && touch $@

.venv/.sbom: requirements/sbom.txt .venv/.serving
	$(BIN)/pip install --quiet --no-compile --require-hashes -r $< && touch $@

.venv/.dev: requirements/train.txt requirements/dev.txt .venv/.serving .venv/.sbom
	$(BIN)/pip install --quiet -r requirements/train.txt -r requirements/dev.txt && touch $@

# onnxruntime and onnxruntime-gpu write the same files, so that neither survives when one of both is uninstalled.
.venv/.cpu .venv/.gpu: .venv/.%: requirements/%.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip uninstall --quiet --yes onnxruntime onnxruntime-gpu 2>/dev/null
	rm -f .venv/.cpu .venv/.gpu && touch $@

# What ships is installed by hash. uv (pip install uv) keeps the versions that stand there; UPGRADE=--upgrade takes newer ones.
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-strip-markers \
	--custom-compile-command "make lock" $(UPGRADE)
lock: ## exact versions with hashes of what ships, from pyproject.toml, into requirements/
	$(LOCK) pyproject.toml --extra serve $(patsubst %,--no-emit-package %,ml-dtypes onnx onnxruntime) -o requirements/serving.txt
	echo onnxruntime | $(LOCK) --no-deps - -o requirements/cpu.txt
	echo 'onnxruntime-gpu[cuda,cudnn]' | $(LOCK) -c requirements/serving.txt \
		$(patsubst %,--no-emit-package %,flatbuffers numpy packaging protobuf) - -o requirements/gpu.txt
	echo cyclonedx-bom | $(LOCK) - -o requirements/sbom.txt

help:
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

.PHONY: serve test check train reproduce model evaluate fuzz attack bench container lock help
