#!/bin/bash
# Takes away what deploy-llm-d.sh brought; what others brought, or still use, stays.
# shellcheck source=deploy/kind/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -eq 0 ] || fail "what is \"$1\"?"
needs "${kubectl%% *}"
helm=${HELM:-helm}
label=inferno.llmd.ai/installed-by=deploy-llm-d

# Kinds whose API is gone are gone too.
there() { [[ -n $($kubectl get crd "$1" --ignore-not-found -o name) ]]; }
users=({httproutes,gateways}.gateway.networking.k8s.io inferencepools.inference.networking.k8s.io inferenceobjectives.inference.networking.x-k8s.io)
for kind in "${users[@]}" agentgatewayparameters.agentgateway.dev; do
  ! there "$kind" || $kubectl delete "$kind" -n llm-d-sim -l app.kubernetes.io/part-of=llm-d-sim --ignore-not-found > /dev/null
done
$kubectl delete deployment,service,configmap,rolebinding,role,serviceaccount -n llm-d-sim -l app.kubernetes.io/part-of=llm-d-sim --ignore-not-found > /dev/null
echo "gone: the endpoint picker, the pool, the gateway and its route"

if [[ -n $($kubectl get namespace -l "$label" -o name) ]]; then
  needs "$helm"
  kubeconfig=$(mktemp)
  trap 'rm -f "$kubeconfig"' EXIT
  $kubectl config view --raw --minify --flatten > "$kubeconfig"
  for chart in agentgateway agentgateway-crds; do
    KUBECONFIG=$kubeconfig "$helm" uninstall "$chart" --namespace agentgateway-system --ignore-not-found --wait > /dev/null
  done
  $kubectl delete namespace -l "$label" --timeout=180s > /dev/null
  echo "gone: the gateway's controller"
fi

[[ -n $($kubectl get crd -l "$label" -o name) ]] || exit 0
for kind in "${users[@]}"; do
  if there "$kind" && [[ -n $($kubectl get "$kind" -A -o name) ]]; then
    echo "the APIs stay: there are $kind of others"
    exit 0
  fi
done
resources=$($kubectl api-resources -o name)
for kind in validatingadmissionpolicybindings validatingadmissionpolicies customresourcedefinitions; do
  # Kubernetes 1.29 has no policies.
  [[ $'\n'$resources != *$'\n'$kind.* ]] || $kubectl delete "$kind" -l "$label" --ignore-not-found --wait=false > /dev/null
done
# kubectl's own wait for definitions has been seen not to end when they are gone; and the API server tries with longer and longer
# breaks to finish off a definition whose first attempt came too early.
for ((until = SECONDS + 300; SECONDS < until;)); do
  [[ -n $($kubectl get crd -l "$label" -o name) ]] || break
  sleep 1
done
[[ -z $($kubectl get crd -l "$label" -o name) ]] || fail "not gone after 300 s: $($kubectl get crd -l "$label" -o name | tr '\n' ' ')"
echo "gone: the APIs"
