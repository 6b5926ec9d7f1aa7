# The habits: make demo, page, test, browser, pictures, python, race, check, check-http, check-export, check-observability,
# check-doctor, bench, bench-peers, bench-scale, bench-curves, bench-page, mutants, soak, generate, man, release, manifests,
# cluster-slurm, cluster-s3, image, check-image, check-chart, cluster-kubernetes.

SHELL := bash
GO ?= go
PYTHON ?= python3
SCHEMATHESIS ?= schemathesis
HTTP_PORT ?= 18080
HELM ?= helm
NAMESPACE ?= trellis
BUILD := .build
PAGE := results/page
PAGE_SOURCES := $(shell git ls-files $(PAGE)/src $(PAGE)/public '$(PAGE)/*.ts' '$(PAGE)/*.js' $(PAGE)/index.html 2>/dev/null)
EXPORT_TOOLS := tensorboard==2.21.0 mlflow==3.17.2 onnx==1.23.2 onnxruntime==1.32.0 safetensors==0.8.0 pandas==3.1.1 \
	pyarrow==25.0.1 standardwebhooks==1.1.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT := mvdan.cc/gofumpt@v0.12.0
# How many packages are tested at a time: one more than there are processors, since the longest tests wait much of the time.
PACKAGES := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

.PHONY: all trellis page browser pictures demo test python race check check-http check-export check-observability check-doctor bench \
	bench-peers bench-scale bench-curves bench-page mutants soak generate man release clean

all: trellis

# The static binary. Without Node.js it has no web page, and says so there.
trellis: page
	CGO_ENABLED=0 $(GO) build -trimpath -o $@ .

# The web page's build, which the binary embeds.
page:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(PAGE)/embedded/index.html; \
		else echo "npm is not here: the binary will have no web page"; fi

$(PAGE)/embedded/index.html: $(PAGE)/node_modules/.package-lock.json $(PAGE_SOURCES)
	find $(PAGE)/embedded -mindepth 1 ! -name unbuilt.html -delete
	cd $(PAGE) && npm run --silent build
	@touch $@

# The page in Chromium, on a coordinator with a worker. Needs Node.js and Chromium.
browser: trellis
	cd $(PAGE) && npm run --silent check
	cd $(PAGE) && npm --silent test

# docs/page: each view in light, in dark and on a telephone.
pictures: trellis
	cd $(PAGE) && node pictures.mjs ../../docs/page

$(PAGE)/node_modules/.package-lock.json: $(PAGE)/package.json $(PAGE)/package-lock.json
	cd $(PAGE) && npm ci --no-audit --no-fund
	@touch $@

# A grid search on real MNIST: a coordinator, two workers, and which configuration is best.
demo: trellis
	./trellis run --workers 2 examples/quick.yaml

# The tests of programs and of the Python package need Python 3.10 or newer, and no packages of others.
test:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "tests need Python 3.10 or newer: install it, or name it, make test PYTHON=python3.12"; exit 1; }
	$(GO) vet ./...
	$(GO) test -p $(PACKAGES) -parallel 4 ./...
	cd python && $(PYTHON) -B -m unittest discover -s tests

# The Python package as a wheel in .build, for editors, type checkers and programs run by hand. Workers bring the package.
# Downloads its build tool, hatchling, from PyPI.
python:
	rm -f $(BUILD)/trellis_program-*.whl
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir $(BUILD) ./python
	@cd $(BUILD) && PYTHONPATH=$$(ls trellis_program-*.whl) $(PYTHON) -c 'import trellis; print(trellis.__file__)'

# Raced processes don't wait a second before they exit: tests start hundreds. The race detector watches everything but the
# decompression of data sets, which has no goroutines and would take most of the time. For the same reason it does not run the
# tests of packages that start no goroutine in code or tests: it could find nothing there. -short leaves out such tests of
# the other packages, and those of quantities; //go:build !race leaves out files of such tests, which must start none.
race: export GORACE := atexit_sleep_ms=0
race: STARTS := \bgo (func|[A-Za-z.]+\()|\.Go\(|t\.Parallel\(|synctest\.|httptest\.|\.Serve(Until)?\(
race:
	@left="$$(git grep -lE '^//go:build (.+ )?!race' -- '*_test.go' | xargs -r grep -lE '$(STARTS)')"; \
		test -z "$$left" || { echo "$$left"; echo "start goroutines: remove //go:build !race from these"; exit 1; }
	set -e -o pipefail; \
		folders="$$($(GO) list -f '{{.Dir}}' ./... | while read -r folder; do \
			if grep -qE '$(STARTS)' "$$folder"/*.go; then echo "$$folder"; fi; done)"; \
		test -n "$$folders" || { echo "found no packages to race"; exit 1; }; \
		GOFLAGS="$$($(GO) env GOFLAGS) -gcflags=compress/flate=-race=false" \
			$(GO) test -race -short -p $(PACKAGES) -parallel 4 $$folders

# What tests don't see: formatting, lint, the messages' rules, generated code that is not current.
check: $(BUILD)/buf
	@files="$$($(GO) run $(GOFUMPT) -l $$(git ls-files '*.go' | grep -v '\.pb\.go$$'))"; \
		test -z "$$files" || { echo "$$files"; echo "not formatted: run gofumpt -w on these"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff
	$(GO) -C proto/generate run . ../../$(BUILD)/proto
	$(BUILD)/buf lint
	rm -rf $(BUILD)/generated
	$(BUILD)/buf generate -o $(BUILD)/generated
	@for file in $$(git ls-files 'proto/*.pb.go'); do \
		cmp $$file $(BUILD)/generated/$$file || { echo "$$file is not current: run make generate"; exit 1; }; \
	done
	$(BUILD)/buf build --as-file-descriptor-set -o $(BUILD)/descriptors.binpb
	$(GO) -C proto/generate run ./openapi ../../$(BUILD)/descriptors.binpb ../../$(BUILD)/generated/openapi.json
	@cmp coordinator/web/openapi.json $(BUILD)/generated/openapi.json || \
		{ echo "coordinator/web/openapi.json is not current: run make generate"; exit 1; }
	$(PYTHON) python/generate.py $(BUILD)/generated/trellis
	@for file in api.py _async_client.py; do \
		cmp python/trellis/$$file $(BUILD)/generated/trellis/$$file || \
			{ echo "python/trellis/$$file is not current: run make generate"; exit 1; }; \
	done
	$(GO) -C trainer/kernel/generate run . -out ../../../$(BUILD)/generated/kernels_amd64.s \
		-stubs ../../../$(BUILD)/generated/stubs_amd64.go -pkg kernel
	@for file in kernels_amd64.s stubs_amd64.go; do \
		tail -n +2 trainer/kernel/$$file | cmp - <(tail -n +2 $(BUILD)/generated/$$file) || \
			{ echo "trainer/kernel/$$file is not current: run make generate"; exit 1; }; \
	done

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Our training steps beside PyTorch's, JAX's and stock Gorgonia's, on one core, which takes half an hour; our t-SNE beside
# openTSNE's and scikit-learn's, on all cores, of 10,000 and 60,000 points; trials a second of Optuna and Ray Tune.
bench-peers:
	$(GO) build -o $(BUILD)/peers ./trainer/peers
	$$(command -v taskset >/dev/null && echo taskset -c 0) $(BUILD)/peers
	$(BUILD)/peers -tsne -rounds 1
	$(BUILD)/peers -tsne -rounds 1 -points 60000
	$(GO) run ./command/scale peers -python $(PYTHON)

# Many trials, many idle workers, many busy slots: what a coordinator and its workers do as processes. Five minutes.
bench-scale: trellis
	$(GO) build -o $(BUILD)/scale ./command/scale
	$(BUILD)/scale throughput
	$(BUILD)/scale idle
	$(BUILD)/scale latency

# The figures of docs/scale.md, measured anew: four minutes for Trellis, ten for the other tools. The machine must do nothing
# else.
bench-curves: trellis
	$(GO) build -o $(BUILD)/scale ./command/scale
	$(BUILD)/scale curves -into docs/scale.json
	$(BUILD)/scale peers -into docs/scale.json -python $(PYTHON)
	$(BUILD)/scale figure docs/scale.json docs/scale.svg
	$(BUILD)/scale table docs/scale.json docs/scale.md

# The page in Chromium on 1,000, 46,000 and 1,000,000 trials and 10,000 curves: how long views take, and their memory. Five minutes.
bench-page: trellis
	cd $(PAGE) && SLOTS=256 node measure.mjs

# Plants known bugs one by one: the tests must catch each. Half an hour.
mutants:
	$(GO) run ./command/mutants

# The API over HTTP against its own description, with requests that schemathesis (of PyPI) makes up: right ones, wrong ones,
# and series of them, about studies that a worker has trained and a report. Needs curl. Two minutes.
check-http: trellis
	coordinator/web/testdata/check-http.sh $(BUILD)/http $(HTTP_PORT) $(SCHEMATHESIS)

# TensorBoard, MLflow and onnxruntime on exports: what they say is compared with what Trellis says. The Standard Webhooks library
# on what is sent to a hook. Downloads them from PyPI into
# .build, 1.5 GB. With PyTorch in that Python too, weights are loaded into its modules. Three minutes.
check-export: $(BUILD)/export/installed
	TRELLIS_EXPORT_PYTHON=$(abspath $(BUILD)/export/bin/python) $(GO) test -count=1 -v -run InTheirTools ./command ./command/onnx

# A Prometheus (apt-get install prometheus) that scrapes a coordinator and workers: every panel of the dashboards shows data, and
# alerts fire by what causes them: all of them as root, who can make disks that run short. A minute.
check-observability:
	TRELLIS_OBSERVABILITY=1 $(GO) test -count=1 -v -run Observability ./command

# trellis doctor on a machine and a cluster whose faults are made. Needs Linux, root, and strace, qemu-user and faketime of Debian.
# A minute.
check-doctor: trellis
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-X trellis/command.release=0.0.1" -o $(BUILD)/other .
	OTHER=$(abspath $(BUILD)/other) command/doctor/testdata/show.sh ./trellis

$(BUILD)/export/installed: Makefile
	$(PYTHON) -m venv $(BUILD)/export
	$(BUILD)/export/bin/pip install --quiet --disable-pip-version-check $(EXPORT_TOOLS)
	@touch $@

.PHONY: cluster-slurm cluster-s3

# A coordinator and workers under Slurm: two nodes on this machine, a study through moves of the coordinator, a time limit, a requeue,
# a preemption and an scancel, a node with a GPU, and launch --max. Needs Debian and root, and installs Slurm where it is not. Ten minutes.
cluster-slurm: trellis
	deploy/slurm/cluster/show.sh ./trellis

# Checkpoints in a bucket that refuses keys, stalls, and goes away for a minute. VERSITYGW names the service, versitygw, or it is in
# PATH; otherwise Go builds it, in three minutes. Eight minutes.
cluster-s3: trellis
	@GO="$(GO)" deploy/s3/show.sh ./trellis

# Takes hours: whole trainings against the paper's figures, a thousand kills, a kill and an error at every write to the disk,
# networks that are cut (needs root and iproute2), a million trials, simulations, ten minutes of fuzzing for each target.
soak:
	$(GO) test -tags soak -timeout 6h ./...

.PHONY: image check-image manifests check-chart cluster-kubernetes

# The container image for amd64 and arm64 in .build/image/trellis.tar, without a registry. Needs buildah, podman or docker.
image: page
	@GO="$(GO)" deploy/image $(BUILD)/image

# Builds the image twice and compares the digests, looks at its size, and runs it as the documentation does. Needs podman.
check-image: page
	@GO="$(GO)" deploy/check-image $(BUILD)/image

# The Helm chart as plain manifests: make manifests VALUES=my-values.yaml NAMESPACE=trellis. Needs helm.
manifests:
	@command -v $(HELM) >/dev/null || { echo "make manifests needs helm: install it (https://helm.sh), or name it with HELM=/path/to/helm" >&2; exit 1; }
	@mkdir -p $(BUILD)
	@$(HELM) template trellis deploy/helm/trellis --namespace $(NAMESPACE) $(foreach file,$(VALUES),--values $(file)) \
		>$(BUILD)/manifests.yaml.new || { rm -f $(BUILD)/manifests.yaml.new; exit 1; }
	@mv $(BUILD)/manifests.yaml.new $(BUILD)/manifests.yaml
	@echo $(BUILD)/manifests.yaml

# A Kubernetes API server checks all that the chart makes, with each option and restricted pods. Needs helm and kubectl.
check-chart:
	@GO="$(GO)" deploy/helm/check-chart

# The chart on the cluster that kubectl reaches: pods are deleted, replaced and scaled while studies are trained. Needs helm, and the
# image in that cluster: see the script.
cluster-kubernetes: trellis
	deploy/helm/cluster-kubernetes

# Go code and the API's description from the .proto files, the Python client from that, assembly from the kernels' generator.
generate: $(BUILD)/buf
	$(GO) -C proto/generate run . ../../$(BUILD)/proto
	$(BUILD)/buf generate
	$(BUILD)/buf build --as-file-descriptor-set -o $(BUILD)/descriptors.binpb
	$(GO) -C proto/generate run ./openapi ../../$(BUILD)/descriptors.binpb ../../coordinator/web/openapi.json
	$(PYTHON) python/generate.py
	$(GO) generate ./trainer/kernel

# The manual's pages in .build/man, from the texts of the help: man .build/man/trellis.1.
man:
	$(GO) run ./command/manual $(BUILD)/man
	@echo $(BUILD)/man

# Binaries, the manual, checksums and notes in dist/VERSION: make release VERSION=1.2.3. The version's section in CHANGELOG.md must be
# there and everything committed.
release:
	@GO="$(GO)" .ci/release "$$VERSION"

$(BUILD)/buf: proto/generate/go.mod proto/generate/go.sum
	$(GO) -C proto/generate build -o ../../$@ github.com/bufbuild/buf/cmd/buf

clean:
	rm -rf $(BUILD) dist trellis
