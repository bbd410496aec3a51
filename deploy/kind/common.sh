# Sourced by the scripts of this folder: options and what all of them need.
# shellcheck disable=SC2034  # what is set here is used there
# shellcheck shell=bash
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kubectl=${KUBECTL:-kubectl}
cluster=kind-inferno-gpu-cluster
nodes=3
gpus=2
type=mix
product=""
memory=""

usage() {
  cat << TEXT
$1
  -c NAME     name of the cluster ($cluster)
  -n NUMBER   nodes ($nodes)
  -g NUMBER   GPUs of each node ($gpus)
  -t TYPE     nvidia, amd, intel, or mix: one after the other ($type)
  -d PRODUCT  the label gpu.product of every node, instead of the vendor's
  -m MB       the label gpu.memory of every node, instead of the vendor's
  K8S_VERSION in the environment: of the nodes, v1.33.1 for example
TEXT
}
fail() { echo "$(basename "$0"): $*" >&2; exit 2; }
number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "-$1: expected a positive number, got \"$2\""; }
needs() { command -v "$1" > /dev/null || fail "$1 is needed and not here"; }

# options TITLE ARGUMENTS...
options() {
  local title=$1 option
  shift
  while getopts ":c:n:g:t:d:m:h" option; do
    case $option in
      c) [[ $OPTARG =~ ^[a-z0-9][a-z0-9.-]*$ ]] || fail "-c: not a name of a cluster: \"$OPTARG\""; cluster=$OPTARG ;;
      n) number n "$OPTARG"; nodes=$OPTARG ;;
      g) number g "$OPTARG"; gpus=$OPTARG ;;
      t) case $OPTARG in nvidia | amd | intel | mix) type=$OPTARG ;; *) fail "-t: expected nvidia, amd, intel or mix, got \"$OPTARG\"" ;; esac ;;
      d) [[ $OPTARG =~ ^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$ && ${#OPTARG} -le 63 ]] || fail "-d: not a label's value: \"$OPTARG\""; product=$OPTARG ;;
      m) number m "$OPTARG"; memory=$OPTARG ;;
      h) usage "$title"; exit 0 ;;
      :) fail "-$OPTARG needs a value" ;;
      *) fail "there is no -$OPTARG; -h tells what there is" ;;
    esac
  done
  shift $((OPTIND - 1))
  [ $# -eq 0 ] || fail "what is \"$1\"? -h tells what there is"
}
