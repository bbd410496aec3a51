#!/bin/bash
# llm-d's infrastructure in front of what deploy-emulated.sh brought to kubectl's cluster: the APIs, a gateway with the inference extension,
# the endpoint picker, the pool of the emulated servers and the route to it. In the environment:
#   GATEWAY_API_VERSION, INFERENCE_EXTENSION_VERSION, AGENTGATEWAY_VERSION   releases
#   EPP_IMAGE       the endpoint picker's image
#   LLM_D_CRDS      a folder with the CustomResourceDefinitions, where their releases cannot be reached; none: those the cluster has
#   LLM_D_GATEWAY   agentgateway; none: installs nothing, for a gateway the cluster has or gets
#   GATEWAY_CLASS   that gateway's class
#   HELM            helm, or where it is
# shellcheck source=deploy/kind/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -eq 0 ] || fail "what is \"$1\"? Everything is set by variables of the environment; the script's head tells which"
gateway_api=${GATEWAY_API_VERSION:-v1.5.1}
inference_extension=${INFERENCE_EXTENSION_VERSION:-v1.5.0}
agentgateway=${AGENTGATEWAY_VERSION:-v1.1.0}
image=${EPP_IMAGE:-registry.k8s.io/gateway-api-inference-extension/epp:$inference_extension}
crds=${LLM_D_CRDS:-}
gateway=${LLM_D_GATEWAY:-agentgateway}
class=${GATEWAY_CLASS:-agentgateway}
helm=${HELM:-helm}
label=inferno.llmd.ai/installed-by=deploy-llm-d
needed=({gatewayclasses,gateways,httproutes}.gateway.networking.k8s.io inferencepools.inference.networking.k8s.io inferenceobjectives.inference.networking.x-k8s.io)

needs "${kubectl%% *}"
[[ $gateway =~ ^(agentgateway|none)$ ]] || fail "LLM_D_GATEWAY: expected agentgateway or none, got \"$gateway\""
[[ -z $crds || $crds = none || -d $crds ]] || fail "LLM_D_CRDS: \"$crds\" is not a folder"
if [[ $gateway != none ]]; then
  needs "$helm"
  [[ $class = agentgateway ]] || fail "GATEWAY_CLASS: \"$class\" goes with LLM_D_GATEWAY=none; agentgateway's class is agentgateway"
fi

# foreign RESOURCE NAME: it is there, and not from this script
foreign() {
  local found
  found=$($kubectl get "$1" "$2" --ignore-not-found --show-labels --no-headers) || exit
  [[ -n $found && $found != *"$label"* ]]
}
# apply, with the label, what comes in or in files
labelled() { $kubectl label --local "$@" "$label" -o json | $kubectl apply --server-side --force-conflicts -f - > /dev/null; }
# try SECONDS WHAT COMMAND...: until it succeeds
try() {
  local seconds=$1 what=$2 until=$((SECONDS + $1))
  shift 2
  until "$@" > /dev/null 2>&1; do
    ((SECONDS < until)) || fail "not after $seconds s: $what"
    sleep 2
  done
}

if [[ $crds != none ]]; then
  for crd in "${needed[@]}"; do
    ! foreign crd "$crd" || fail "$crd is there already, not from here: LLM_D_CRDS=none takes those that are there"
  done
  releases=https://github.com/kubernetes-sigs
  from=(-f "$releases/gateway-api/releases/download/$gateway_api/standard-install.yaml"
    -f "$releases/gateway-api-inference-extension/releases/download/$inference_extension/manifests.yaml")
  [[ -z $crds ]] || from=(-f "$crds")
  labelled "${from[@]}" || fail "without the APIs nothing else; LLM_D_CRDS=FOLDER takes them from where they can be reached"
  echo "the APIs: ${crds:-Gateway API $gateway_api, Inference Extension $inference_extension}"
fi
for crd in "${needed[@]}"; do
  [[ -n $($kubectl get crd "$crd" --ignore-not-found -o name) ]] || fail "the CustomResourceDefinition $crd is not there; LLM_D_CRDS is ${crds:-not set}"
done
$kubectl wait --for=condition=Established "${needed[@]/#/crd/}" --timeout=60s > /dev/null

if [[ $gateway = agentgateway ]]; then
  ! foreign namespace agentgateway-system || fail "the namespace agentgateway-system is there already, not from here: LLM_D_GATEWAY=none takes the gateway that is there"
  $kubectl create namespace agentgateway-system --dry-run=client -o yaml | labelled -f -
  # helm works where kubectl does, whatever options the latter has.
  kubeconfig=$(mktemp)
  trap 'rm -f "$kubeconfig"' EXIT
  $kubectl config view --raw --minify --flatten > "$kubeconfig"
  chart() {
    local name=$1
    shift
    KUBECONFIG=$kubeconfig "$helm" upgrade --install "$name" "oci://cr.agentgateway.dev/charts/$name" --namespace agentgateway-system --version "$agentgateway" --wait --timeout 5m "$@" > /dev/null
  }
  chart agentgateway-crds
  chart agentgateway --set inferenceExtension.enabled=true
  echo "the gateway's controller: agentgateway $agentgateway"
fi

$kubectl apply --server-side --force-conflicts -f "$here/../samples/00-namespace.yaml" > /dev/null
manifests=$here/llm-d/base
[[ $gateway = none ]] || manifests=$here/llm-d/$gateway
$kubectl kustomize "$manifests" | sed "s|image: registry.k8s.io/gateway-api-inference-extension/epp:.*|image: $image|; s|gatewayClassName: agentgateway|gatewayClassName: $class|" |
  $kubectl apply --server-side --force-conflicts -f - > /dev/null
echo "the endpoint picker, the pool, the gateway and its route: in the namespace llm-d-sim"

in=(-n llm-d-sim)
if [[ $gateway != none ]]; then
  $kubectl rollout status "${in[@]}" deployment/gaie-sim-epp --timeout=180s > /dev/null
  $kubectl wait "${in[@]}" --for=condition=Programmed gateway/infra-sim-inference-gateway --timeout=180s > /dev/null
  started() { $kubectl get "${in[@]}" deployment/infra-sim-inference-gateway; }
  try 60 "the gateway has a Deployment" started
  $kubectl rollout status "${in[@]}" deployment/infra-sim-inference-gateway --timeout=180s > /dev/null
  routed() { [[ $($kubectl get "${in[@]}" httproute/llm-d-sim -o 'jsonpath={.status.parents[*].conditions[?(@.type=="ResolvedRefs")].status}') = True ]]; }
  try 60 "the route llm-d-sim has found its pool (ResolvedRefs)" routed
  echo "all of them are ready"
fi
echo "the gateway:  $kubectl port-forward -n llm-d-sim service/infra-sim-inference-gateway 8000:80"
echo "its load:     inferno-testbed load --url http://127.0.0.1:8000/v1 --model default --rate '[[120,60],[120,80]]'"
