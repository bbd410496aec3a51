#pragma once
// The quick start's story in one process: cluster, servers, controller and load, and whether it went as told.
#include <cstdint>
#include <string>

namespace inferno::testbed {

struct demo_options {
  double per_minute = 480;  ///< requests of the load phase: more than one replica can take, less than two
  double idle_s = 8;        ///< before the load
  double load_s = 75;
  std::uint64_t seed = 7;
  bool plain = false;  ///< lines instead of the live view on a terminal
  bool keep = false;   ///< stays up afterwards until it is told to stop
};

/// Returns the exit code: 0 when the story happened, 1 when it did not, 2 when it could not begin, 130 when stopped.
int run_demo(const demo_options& options);

}  // namespace inferno::testbed
