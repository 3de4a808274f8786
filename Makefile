# Each target is one line or a script; `make help` lists them.
# KUBECONFIG=… uses that cluster instead of the local one; IMAGE=… names an image it can pull.
.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-integration lint generate image install cluster-up cluster-down bench sweep clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
demo: ## Break an app on a real cluster and watch it being healed
	@demo/run
test: ## Run every test: unit, integration and end to end
	@tests/run
test-unit: ## Run the tests that need no cluster
	@cargo test --workspace --exclude kubernaut-tests
test-integration: ## Run the tests on the cluster only
	@tests/run -p kubernaut-tests
lint: ## Check format and style (rustfmt, clippy)
	@cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings
generate: ## Write the generated files anew: CRDs, manifests, references
	@hack/generate
image: cluster-up ## Build the operator's image and load it into the cluster (PROFILE=dev: quicker)
	@tests/cluster/load-image kubernaut
install: cluster-up ## Install Kubernaut and the monitoring into the cluster
	@tests/cluster/install
cluster-up: ## Start the local Kubernetes (builds it the first time)
	@tests/cluster/up
cluster-down: ## Stop the local Kubernetes; its state stays
	@tests/cluster/down
bench: install ## Measure what docs/performance.md states (RUNS=20)
	@cargo bench -p kubernaut-tests --profile dev --bench remediation
sweep: ## Kill the operator, or fail its API server, at every single write (make test takes a spread)
	@SWEEP=all tests/run -p kubernaut-tests --test crash -- --nocapture
clean: ## Remove the cluster and everything that was built
	@tests/cluster/down --purge && rm -rf .local target
