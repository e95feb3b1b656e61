# Every target makes .venv when it is not there. Needs Python 3.11 or newer, make and pip; nothing else.
PYTHON ?= python3
BIN := .venv/bin
DATA ?= data
VARIANT ?= cpu
INIT ?= imagenet

serve: .venv/.serving ## answer over HTTP on port 3000
	$(BIN)/bentoml serve

test: .venv/.dev ## all tests; those that need the full data set or a browser skip and say so
	$(BIN)/pytest

check: .venv/.dev ## format, lint, types, and known vulnerabilities where PyPI can be asked
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/python -m deploy.audit

train: .venv/.dev ## the published run, from torchvision's weights, into runs/
	$(BIN)/alexnet train --data $(DATA)

RUN := runs/published
PUBLISHED := docs/runs/published

reproduce: .venv/.dev ## the published run, trained or gone on with, measured, and compared in docs/reproduction.md
	$(BIN)/alexnet train $(if $(wildcard $(RUN)/last.pt),--resume $(RUN),--init $(INIT) --output $(RUN)) --data $(DATA)
	$(BIN)/alexnet export $(RUN) --output $(RUN)/model.onnx
	$(BIN)/alexnet evaluate $(RUN)/model.onnx --predictions --data $(DATA) --output $(PUBLISHED)/test
	$(BIN)/alexnet evaluate $(RUN)/model.onnx --predictions --data $(DATA) --output $(PUBLISHED)/validation --split validation
	cp $(RUN)/config.json $(RUN)/metrics.csv $(PUBLISHED)
	$(BIN)/alexnet report

evaluate: .venv/.dev ## measure the committed model on the 10,000 test images
	$(BIN)/alexnet evaluate --data $(DATA)

fuzz: .venv/.dev ## 6,000 broken images and requests against the real service, for ten minutes at the most
	$(BIN)/python -m benchmarks.reliability fuzz

bench: .venv/.dev ## speed beside other servers, a verdict per target, docs/benchmarks.md; QUICK=--quick for minutes less
	$(BIN)/python -m benchmarks.serving $(QUICK)
	$(BIN)/python -m benchmarks.inference $(QUICK)
	$(BIN)/python -m benchmarks.evaluate $(QUICK) --data $(DATA)
	$(BIN)/python -m benchmarks.training $(QUICK)
	$(BIN)/python -m benchmarks.startup $(QUICK)
	$(BIN)/python -m benchmarks.report

container: .venv/.serving .venv/.sbom ## a container image with docker or podman; VARIANT=gpu for the one with CUDA
	$(BIN)/python -m deploy.container $(VARIANT) $(CONTAINER_OPTIONS)

.venv/.%: requirements/%.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r $< -e . && touch $@

help:
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

.PHONY: serve test check train reproduce evaluate fuzz bench container help
