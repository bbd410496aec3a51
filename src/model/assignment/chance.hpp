#pragma once
// Numbers as if drawn by chance, the same on every machine and in every run.
#include <array>
#include <cstdint>

namespace inferno::model {

/// MT19937-64 from seed 1 (Nishimura, "Tables of 64-bit Mersenne twisters", 2000).
class chance {
 public:
  chance();
  /// Uniform over all values.
  std::uint64_t operator()();

 private:
  std::array<std::uint64_t, 312> state_;
  std::size_t next_ = 312;
};

}  // namespace inferno::model
