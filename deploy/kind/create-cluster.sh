#!/bin/bash
# A Kind cluster whose nodes seem to have GPUs.
# shellcheck source=deploy/kind/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
options "create-cluster.sh [OPTIONS]: a Kind cluster with fake GPUs" "$@"
kind=${KIND:-kind}
for program in "$kind" docker "${kubectl%% *}"; do needs "$program"; done

config="{kind: Cluster, apiVersion: kind.x-k8s.io/v1alpha4, nodes: [{role: control-plane, extraPortMappings: [{containerPort: 30000, hostPort: 30000}]}"
for ((i = 1; i < nodes; i++)); do config+=", {role: worker}"; done
if "$kind" get clusters 2> /dev/null | grep -qx "$cluster"; then
  echo "the cluster $cluster is there already"
else
  "$kind" create cluster --name "$cluster" ${K8S_VERSION:+--image "kindest/node:$K8S_VERSION"} --config <(echo "$config]}")
fi
$kubectl config use-context "kind-$cluster" > /dev/null
$kubectl wait --for=condition=Ready nodes --all --timeout=180s > /dev/null
# With one machine under it, the control plane works too.
$kubectl taint nodes --all node-role.kubernetes.io/control-plane:NoSchedule- > /dev/null 2>&1 || true
KUBECTL=$kubectl "$here/nodes.sh" "$@"
