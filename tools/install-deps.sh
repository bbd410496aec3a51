#!/bin/bash
# Installs the Debian or Ubuntu packages Inferno is built and tested with, if any is missing, and those
# given as arguments. Needs root or sudo only then.
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config mold libcaf-dev prometheus-cpp-dev libspdlog-dev libfmt-dev libyaml-cpp-dev libcli11-dev libexpected-dev
  libssl-dev zlib1g-dev ca-certificates)
# INFERNO_DEPS=build leaves out what only tests and contributors need.
[ "${INFERNO_DEPS:-}" = build ] || packages+=(ccache git curl jq libgtest-dev libgmock-dev libbenchmark-dev libglpk-dev clang-format prometheus
  faketime shellcheck zsh fish bubblewrap dpkg-dev file)
# Debian 12's default Boost is 1.74; the 1.81 packages stand beside it. Later releases have a newer default.
# shellcheck source=/dev/null
if [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = bookworm ]; then
  packages+=(libboost1.81-dev libboost-json1.81-dev libboost-url1.81-dev)
else
  packages+=(libboost-dev libboost-json-dev libboost-url-dev)
fi
packages+=("$@")
# Any kubectl will do; Debian's package is used where there is none.
[ "${INFERNO_DEPS:-}" = build ] || command -v kubectl > /dev/null || packages+=(kubernetes-client)

missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$p" 2> /dev/null | grep -q 'ok installed' || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo > /dev/null || { echo "missing packages: ${missing[*]}; install them as root" >&2; exit 1; }
  sudo=sudo
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# The prometheus package would start its own server at once; the tests start theirs.
policy=/usr/sbin/policy-rc.d
made_policy=""
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy > /dev/null && $sudo chmod +x $policy && made_policy=1
fi
trap 'if [ -n "$made_policy" ]; then $sudo rm -f $policy; fi; rm -f "$log"' EXIT
if ! { $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
  tail -n 30 "$log" >&2
  exit 1
fi
