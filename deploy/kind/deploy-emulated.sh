#!/bin/bash
# The quick start on kubectl's cluster: the controller, Prometheus and Grafana, the emulated vLLM server and its VariantAutoscaling.
#   deploy-emulated.sh IMG TESTBED_IMG
# shellcheck source=deploy/kind/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -eq 2 ] || fail "expected the image of the controller and that of the emulated inference server"
needs "${kubectl%% *}"
images="s|image: inferno-controller:latest|image: $1|; s|image: inferno-testbed:latest|image: $2|"
apply() { sed "$images" | $kubectl apply --server-side --force-conflicts -f -; }

$kubectl kustomize "$here/../overlays/emulated" | apply
$kubectl wait --for=condition=Established crd/variantautoscalings.llmd.ai --timeout=60s
apply < "$here/../samples/00-namespace.yaml"
for manifest in "$here"/../samples/vllme-*.yaml "$here/vllme-service.yaml"; do apply < "$manifest"; done
