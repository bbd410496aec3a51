#!/bin/bash
# Gives the nodes of the current cluster the labels and the capacities of GPUs that are not there.
# shellcheck source=deploy/kind/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
options "nodes.sh [OPTIONS]: fake GPUs on the nodes of kubectl's cluster, -n of them at most" "$@"
needs "${kubectl%% *}"

vendors=(nvidia amd intel)
declare -A products=([nvidia]=NVIDIA-A100-PCIE-80GB [amd]=AMD-MI300X-192G [intel]=Intel-Gaudi-2-96GB)
declare -A memories=([nvidia]=81920 [amd]=196608 [intel]=98304)

mapfile -t all < <($kubectl get nodes -o name | sed 's|^node/||' | sort | head -n "$nodes")
[ ${#all[@]} -gt 0 ] || fail "the cluster has no nodes"
at=0
for node in "${all[@]}"; do
  vendor=$type
  [ "$type" != mix ] || vendor=${vendors[at % 3]}
  at=$((at + 1))
  $kubectl label --overwrite node "$node" "$vendor.com/gpu.product=${product:-${products[$vendor]}}" "$vendor.com/gpu.memory=${memory:-${memories[$vendor]}}" > /dev/null
  # The kubelet leaves alone what it has no plugin for.
  $kubectl patch node "$node" --subresource=status --type=json -p "[
    {\"op\": \"add\", \"path\": \"/status/capacity/$vendor.com~1gpu\", \"value\": \"$gpus\"},
    {\"op\": \"add\", \"path\": \"/status/allocatable/$vendor.com~1gpu\", \"value\": \"$gpus\"}]" > /dev/null
done

line=$(printf '%0.s-' {1..127})
printf "Summary: GPU resource capacities and allocatables for cluster '%s':\n%s\n" "$cluster" "$line"
printf '%-40s %-20s %-10s %-15s %-30s %-10s\n%s\n' Node Resource Capacity Allocatable "GPU Product" "Memory (MB)" "$line"
for node in "${all[@]}"; do
  for vendor in "${vendors[@]}"; do
    read -r capacity allocatable name size < <($kubectl get node "$node" -o "jsonpath={.status.capacity.$vendor\\.com/gpu} {.status.allocatable.$vendor\\.com/gpu} {.metadata.labels.$vendor\\.com/gpu\\.product} {.metadata.labels.$vendor\\.com/gpu\\.memory}{\"\\n\"}") || true
    [ -z "${size:-}" ] || printf '%-40s %-20s %-10s %-15s %-30s %-10s\n' "$node" "$vendor.com/gpu" "$capacity" "$allocatable" "$name" "$size"
    size=""
  done
done
echo "$line"
