#pragma once
// How much memory this process has.
#include <fstream>
#include <string>

namespace inferno::test {

/// AddressSanitizer keeps what is freed, so that the figures say nothing of the program.
#ifdef __SANITIZE_ADDRESS__
inline constexpr bool frees_memory = false;
#else
inline constexpr bool frees_memory = true;
#endif

/// A line of /proc/self/status in MiB: "VmRSS:" now, "VmHWM:" at the peak. 0 = there is no such line.
inline double resident_mib(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(what, 0) == 0) return std::stod(line.substr(what.size())) / 1024;
  return 0;
}

}  // namespace inferno::test
