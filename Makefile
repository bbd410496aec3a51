# Wraps CMake; every target installs what is missing, configures, builds and runs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
JOBS ?= $(shell nproc)
# Suites of end-to-end tests at once, each with servers of its own: they wait more than they compute.
E2E_JOBS ?= 2
BUILD := build/release

PREFIX ?= /usr/local
IMG ?= inferno-controller:latest
TESTBED_IMG ?= inferno-testbed:latest
PLATFORMS ?= linux/arm64,linux/amd64
CONTAINER_TOOL ?= docker
KUBECTL ?= kubectl
# deploy/default, or deploy/overlays/monitoring where there is the Prometheus Operator
OVERLAY ?= deploy/default
COMMIT := $(shell git rev-parse --short=12 HEAD 2> /dev/null || echo unknown)

.PHONY: help deps build demo test test-e2e test-asan test-tsan fuzz bench solver-oracle accuracy sweep docs format tidy clean \
  package install-bin rootfs docker-build docker-push docker-buildx install uninstall deploy undeploy build-installer \
  create-kind-cluster destroy-kind-cluster deploy-inferno-emulated-on-kind undeploy-inferno-emulated-on-kind \
  deploy-llm-d-inferno-emulated-on-kind undeploy-llm-d-inferno-emulated-on-kind

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 43

deps: ## install the Debian packages that are missing
	@tools/install-deps.sh

build: deps ## build both programs and the tests
	@cmake --preset release > build-configure.log 2>&1 || { cat build-configure.log; exit 1; }; rm -f build-configure.log
	@cmake --build --preset release -j $(JOBS)

demo: deps ## the quick start on this machine: load up, scale up, load off, scale down
	@cmake --preset release -DBUILD_TESTING=OFF -DINFERNO_BENCH=OFF -B build/demo > /dev/null
	@cmake --build build/demo -j $(JOBS)
	@build/demo/inferno-testbed demo

test: build ## unit and integration tests
	@ctest --test-dir $(BUILD) -LE e2e --output-on-failure -j $(JOBS)

# KUBEBUILDER_ASSETS names a folder with the servers of any one release; else a current and an old one are built, once. So does
# INFERNO_DEPLOY_TOOLS for the tools of the tests of deploy/. Without Go: docs/architecture.md says what has to be in them.
test-e2e: build rootfs ## the controller against real servers: etcd, kube-apiserver, kube-controller-manager, Prometheus
	@cmake --build --preset release -j $(JOBS) --target test_e2e
	@more=$${INFERNO_DEPLOY_TOOLS:-$$(tools/deploy-tools.sh)} && \
	if [ -n "$$KUBEBUILDER_ASSETS" ]; then \
	  servers="given=$$KUBEBUILDER_ASSETS"; \
	else \
	  current=$$(tools/kubernetes-servers.sh current) && oldest=$$(tools/kubernetes-servers.sh oldest) && servers="current=$$current;oldest=$$oldest"; \
	fi && \
	cmake --preset release -DINFERNO_E2E_SERVERS="$$servers" -DINFERNO_DEPLOY_TOOLS="$$more" > /dev/null
	@ctest --test-dir $(BUILD) -L e2e --output-on-failure -j $(E2E_JOBS)

fuzz: ## every parser against libFuzzer's ideas, FUZZ_SECONDS (60) each, under ASan and UBSan
	@tools/install-deps.sh clang-16 libclang-rt-16-dev
	@cmake --preset fuzz > /dev/null && cmake --build --preset fuzz -j $(JOBS) --target fuzz_all
	@tools/fuzz.sh

test-asan: deps ## the same under AddressSanitizer and UndefinedBehaviorSanitizer
	@cmake --preset asan > /dev/null && cmake --build --preset asan -j $(JOBS)
	@ctest --test-dir build/asan --output-on-failure -j $(JOBS)

# Debian's CAF is not instrumented: what its scheduler hands from thread to thread looks like a race. Tests that run it are left out.
test-tsan: deps ## the unit tests of model, net and actors under ThreadSanitizer
	@cmake --preset tsan > /dev/null && cmake --build --preset tsan -j $(JOBS) --target test_model test_net test_actors
	@for t in model net actors; do build/tsan/tests/test_$$t --gtest_brief=1 || exit 1; done

bench: build ## benchmarks; they check their results
	@$(BUILD)/bench/inferno_bench

ORACLE_SYSTEMS ?= 200
solver-oracle: build ## the default solver against HiGHS on ORACLE_SYSTEMS (200) systems: the table of docs/model.md
	@tools/install-deps.sh python3-venv
	@python3 -m venv build/solver-oracle && build/solver-oracle/bin/pip install -q -r tools/solver-oracle/requirements.txt
	@build/solver-oracle/bin/python tools/solver-oracle/check.py $(BUILD)/bench/solver_classes $(ORACLE_SYSTEMS)

accuracy: build ## the model against measurements of real servers: the tables and pictures of docs/model.md
	@$(BUILD)/inferno-testbed accuracy --write docs/model.md

sweep: build ## the queueing model against the emulator's core: the tables of docs/model-sweep.md, and their summary
	@$(BUILD)/inferno-testbed sweep --write docs/model-sweep.md --write-summary docs/model.md

docs: build ## docs/variantautoscaling.md, from the CustomResourceDefinition
	@$(BUILD)/inferno-testbed docs --write docs/variantautoscaling.md

format: ## format all sources with .clang-format
	@git ls-files '*.cpp' '*.hpp' | xargs clang-format -i

# clang does not read GCC's precompiled headers.
tidy: ## clang-tidy over our sources
	@tools/install-deps.sh clang-tidy
	@cmake --preset release -B build/tidy -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DBUILD_TESTING=OFF -DINFERNO_BENCH=OFF > /dev/null
	@git ls-files 'src/*.cpp' 'testbed/*.cpp' | xargs -P $(JOBS) -n 1 clang-tidy -p build/tidy --quiet --extra-arg=-Wno-unknown-warning-option

package: build ## a Debian package of the controller: build/release/inferno_*.deb
	@cd $(BUILD) && cpack > cpack.log || { cat cpack.log; exit 1; }
	@ls -l $(BUILD)/*.deb

install-bin: build ## the controller, completions and documentation under PREFIX (/usr/local)
	@cmake --install $(BUILD) --prefix $(PREFIX) --strip

rootfs: deps ## what the images hold, without a container tool: build/image/rootfs
	@cmake --preset image -DINFERNO_COMMIT=$(COMMIT) > /dev/null && cmake --build --preset image -j $(JOBS) --target inferno inferno-testbed
	@tools/make-rootfs.sh build/image/inferno build/image/rootfs/controller
	@tools/make-rootfs.sh build/image/inferno-testbed build/image/rootfs/testbed

docker-build: ## images of the controller (IMG) and of the emulated inference server (TESTBED_IMG)
	$(CONTAINER_TOOL) build --build-arg COMMIT=$(COMMIT) --target controller -t $(IMG) .
	$(CONTAINER_TOOL) build --build-arg COMMIT=$(COMMIT) --target testbed -t $(TESTBED_IMG) .

docker-push: ## push IMG
	$(CONTAINER_TOOL) push $(IMG)

docker-buildx: ## build and push IMG for PLATFORMS
	$(CONTAINER_TOOL) buildx build --platform=$(PLATFORMS) --build-arg COMMIT=$(COMMIT) --target controller -t $(IMG) --push .

install: ## the CustomResourceDefinition into the cluster of KUBECTL
	@$(KUBECTL) apply --server-side --force-conflicts -k deploy/crd

uninstall: ## and out of it, with all VariantAutoscalings
	@$(KUBECTL) delete --ignore-not-found -k deploy/crd

# The image of the manifests is a name that only this line knows.
render = $(KUBECTL) kustomize $(OVERLAY) | sed 's|image: inferno-controller:latest|image: $(IMG)|'

deploy: ## the controller (IMG) and all it needs into the cluster of KUBECTL
	@$(render) | $(KUBECTL) apply --server-side --force-conflicts -f -

undeploy: ## and out of it, with its namespace, the CustomResourceDefinition and all VariantAutoscalings
	@$(render) | $(KUBECTL) delete --ignore-not-found -f -

build-installer: ## what deploy applies, as one file: build/install.yaml
	@mkdir -p build
	@$(render) > build/install.yaml && echo build/install.yaml

KIND ?= kind
KIND_CLUSTER ?= kind-inferno-gpu-cluster
KIND_ARGS ?= -t mix -n 3 -g 2

create-kind-cluster: ## a Kind cluster with fake GPUs; KIND_ARGS: deploy/kind/create-cluster.sh -h
	@KIND="$(KIND)" KUBECTL="$(KUBECTL)" deploy/kind/create-cluster.sh -c $(KIND_CLUSTER) $(KIND_ARGS)

destroy-kind-cluster: ## and away with it
	@$(KIND) delete cluster --name $(KIND_CLUSTER)

deploy-inferno-emulated-on-kind: ## the quick start on a Kind cluster: emulated GPUs and servers, Prometheus, Grafana, the controller
	@KIND="$(KIND)" KUBECTL="$(KUBECTL)" deploy/kind/create-cluster.sh -c $(KIND_CLUSTER) $(KIND_ARGS)
	@$(MAKE) --no-print-directory docker-build IMG=$(IMG) TESTBED_IMG=$(TESTBED_IMG)
	@$(KIND) load docker-image --name $(KIND_CLUSTER) $(IMG) $(TESTBED_IMG)
	@KUBECTL="$(KUBECTL)" deploy/kind/deploy-emulated.sh $(IMG) $(TESTBED_IMG)

undeploy-inferno-emulated-on-kind: ## and out of the cluster
	@KUBECTL="$(KUBECTL)" deploy/kind/undeploy-emulated.sh

deploy-llm-d-inferno-emulated-on-kind: deploy-inferno-emulated-on-kind ## the same behind llm-d's gateway and endpoint picker
	@KUBECTL="$(KUBECTL)" deploy/kind/deploy-llm-d.sh

undeploy-llm-d-inferno-emulated-on-kind: ## and out of the cluster
	@KUBECTL="$(KUBECTL)" deploy/kind/undeploy-llm-d.sh
	@KUBECTL="$(KUBECTL)" deploy/kind/undeploy-emulated.sh

clean: ## remove the build folder
	@rm -rf build
