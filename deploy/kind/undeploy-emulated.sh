#!/bin/bash
# Takes away what deploy-emulated.sh brought.
# shellcheck source=deploy/kind/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
needs "${kubectl%% *}"
$kubectl delete --ignore-not-found -f "$here/../samples/00-namespace.yaml"
$kubectl kustomize "$here/../overlays/emulated" | $kubectl delete --ignore-not-found -f -
