#!/bin/bash
# Builds the servers of the end-to-end tests from the Go module proxy and prints the folder they are in:
#   tools/kubernetes-servers.sh current|oldest
# Built once and kept under $INFERNO_CACHE (default: ~/.cache/inferno); a changed go.mod builds anew. Needs Go 1.26 or newer.
set -euo pipefail
which=$1
source_folder=$(cd "$(dirname "$0")/../tests/e2e/servers/$which" && pwd)
version=$(sed -n 's|^\tk8s.io/kubernetes v\([0-9.]*\).*|\1|p; s|^require k8s.io/kubernetes v\([0-9.]*\).*|\1|p' "$source_folder/go.mod" | head -n 1)
sum=$(cat "$source_folder"/go.mod "$source_folder"/go.sum | sha256sum | cut -c 1-12)
cache=${INFERNO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/inferno}/kubernetes
out=$cache/v$version-$sum
if [ -e "$out/complete" ]; then
  echo "$out"
  exit 0
fi
if ! command -v go > /dev/null; then
  cat >&2 << 'TEXT'
The end-to-end tests need etcd, kube-apiserver and kube-controller-manager. They are built with Go 1.26 or newer, which is not here.
Install Go, or put the three programs of any release into a folder and set KUBEBUILDER_ASSETS to it; docs/architecture.md says where they come from.
TEXT
  exit 1
fi
# Both run on the newer etcd.
[ "$which" = oldest ] && newer=$("$0" current)
mkdir -p "$cache"
# One build at a time: linking takes 4 GiB.
exec 9> "$cache/lock"
flock 9
[ -e "$out/complete" ] && { echo "$out"; exit 0; }
echo "building Kubernetes $version (once; some ten minutes)" >&2
began=$SECONDS
mkdir -p "$out"
cd "$source_folder"
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly
minor=$(echo "$version" | cut -d. -f2)
stamp="-s -w -X k8s.io/component-base/version.gitVersion=v$version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor"
tags=""
# The cloud providers that old releases carry are not tested here.
[ "$which" = oldest ] && tags=providerless
# A module that is downloaded is no news.
quiet_build() { go build -trimpath "$@" 2> >(grep -v '^go: downloading' >&2) >&2; }
quiet_build -tags "$tags" -ldflags "$stamp" -o "$out/" k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager
if [ "$which" = current ]; then
  quiet_build -ldflags "-s -w" -o "$out/etcd" go.etcd.io/etcd/server/v3
else
  cp "$newer/etcd" "$out/etcd"
fi
touch "$out/complete"
echo "built Kubernetes $version in $((SECONDS - began)) s" >&2
echo "$out"
