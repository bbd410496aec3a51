#!/bin/sh
# Includes may point one way only: testbed -> actors -> net -> model. Fails and prints every line against it.
cd "$1" || exit 2
found=$(
  grep -rnE '#include [<"](caf/|boost/asio|boost/beast|spdlog/|net/|actors/|testbed/|prometheus/|chrono>.*system_clock|random>)' src/model
  grep -rlE '#include [<"]boost/json' src/model | grep -vE 'src/model/(codec|system_json)[a-z_]*\.(cpp|hpp)$' | sed 's/$/: Boost.JSON outside the codec/'
  grep -rnE '#include [<"](caf/|actors/|testbed/|spdlog/)' src/net
  grep -rnE '#include [<"](testbed/|tests/)' src
  grep -rnE '#include [<"]caf/all\.hpp' src testbed tests --include=*.hpp
  grep -rnE '#include [<"]tests/' testbed
)
[ -z "$found" ] && exit 0
echo "includes against the direction of the layers:"
echo "$found"
exit 1
