#!/bin/bash
# Prints a folder with what the tests of deploy/ need besides the servers: helm, a kubectl that knows today's kustomizations, and the
# CustomResourceDefinitions of the Prometheus Operator, KEDA, the Gateway API and its Inference Extension. From the Go module proxy, kept as tools/kubernetes-servers.sh does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
module=$here/../tests/e2e/tools
helm_version=$(sed -n 's|.*helm.sh/helm/v3 v\([0-9.]*\).*|\1|p' "$module/go.mod")
cache=${INFERNO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/inferno}/deploy-tools
out=$cache/$(cat "$0" "$module/go.mod" "$module/go.sum" | sha256sum | cut -c 1-12)
if [ -e "$out/complete" ]; then
  echo "$out"
  exit 0
fi
command -v go > /dev/null || {
  echo "the tests of deploy/ need helm, built with Go 1.26 or newer, which is not here; or set INFERNO_DEPLOY_TOOLS: docs/architecture.md" >&2
  exit 1
}
mkdir -p "$cache"
exec 9> "$cache/lock"
flock 9
[ -e "$out/complete" ] && { echo "$out"; exit 0; }
echo "building helm $helm_version and kubectl (once)" >&2
mkdir -p "$out"
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly
quiet() { "$@" 2> >(grep -v '^go: downloading' >&2); }
# What the release builds stamp in: without it Helm takes every cluster for Kubernetes 1.20.
stamp="-s -w -X helm.sh/helm/v3/internal/version.version=v$helm_version -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37"
(cd "$module" && quiet go build -trimpath -ldflags "$stamp" -o "$out/" helm.sh/helm/v3/cmd/helm ./kubectl) >&2

# module@version, its checksum, a file of it, the folder to put it into
crd() {
  local found
  found=$(cd "$out" && quiet env GOFLAGS=-mod=mod go mod download -json "$1")
  [ "$(echo "$found" | jq -r .Sum)" = "$2" ] || { echo "$1: checksum $(echo "$found" | jq -r .Sum), expected $2" >&2; exit 1; }
  cp "$(echo "$found" | jq -r .Dir)/$3" "$out/${4:-}/"
}
operator=github.com/prometheus-operator/prometheus-operator@v0.85.0
operator_sum=h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=
crd $operator $operator_sum example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml
crd $operator $operator_sum example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml
crd github.com/kedacore/keda/v2@v2.21.0 h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps= config/crd/bases/keda.sh_scaledobjects.yaml
# Those that llm-d's gateway and endpoint picker work with.
mkdir -p "$out/llm-d"
for kind in gatewayclasses gateways httproutes; do
  crd sigs.k8s.io/gateway-api@v1.5.1 h1:RqVRIlkhLhUO8wOHKTLnTJA6o/1un4po4/6M1nRzdd0= "config/crd/standard/gateway.networking.k8s.io_$kind.yaml" llm-d
done
for kind in k8s.io_inferencepools x-k8s.io_inferenceobjectives x-k8s.io_inferencemodelrewrites; do
  crd sigs.k8s.io/gateway-api-inference-extension@v1.5.0 h1:w9Awt60cmI1vM7Y6N81h8wDCBP0WkmxpdI7GKY0v070= "config/crd/bases/inference.networking.$kind.yaml" llm-d
done
chmod -R u+w "$out"
touch "$out/complete"
echo "$out"
