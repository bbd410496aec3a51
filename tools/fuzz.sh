#!/bin/bash
# Runs each fuzz target of build/fuzz for FUZZ_SECONDS (default 60), or those given as arguments. New inputs go to
# build/fuzz/corpus; what breaks a promise is kept there too, and named.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}
bin=build/fuzz/tests/fuzz
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(watch_decoder exposition kube_objects config_maps system_json kubeconfig http_routes prometheus_answer)
export ASAN_OPTIONS=detect_container_overflow=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
failed=0
printf '%-18s %12s %10s %8s\n' target executions coverage result
for t in "${targets[@]}"; do
  found=build/fuzz/corpus/$t
  mkdir -p "$found"
  log=build/fuzz/$t.log
  result=ok
  "$bin/fuzz_$t" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found/broken-" "$found" "tests/fuzz/corpus/$t" > "$log" 2>&1 || { result=BROKEN; failed=1; }
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | cut -d' ' -f2)
  printf '%-18s %12s %10s %8s\n' "$t" "${executions:-?}" "${coverage:-?}" "$result"
  [ $result = ok ] || { grep -E 'broken:|ERROR|SUMMARY|runtime error|Test unit written' "$log" | head -n 5; }
done
exit $failed
