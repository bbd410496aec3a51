#include "model/assignment/chance.hpp"

namespace inferno::model {

chance::chance() {
  state_[0] = 1;
  for (std::size_t i = 1; i < state_.size(); ++i) state_[i] = 6364136223846793005 * (state_[i - 1] ^ (state_[i - 1] >> 62)) + i;
}

std::uint64_t chance::operator()() {
  constexpr std::size_t n = 312, m = 156;
  constexpr std::uint64_t lower = 0x7fffffff, twist = 0xb5026f5aa96619e9;
  if (next_ == n) {
    for (std::size_t i = 0; i < n; ++i) {
      const auto x = (state_[i] & ~lower) | (state_[(i + 1) % n] & lower);
      state_[i] = state_[(i + m) % n] ^ (x >> 1) ^ (x % 2 != 0 ? twist : 0);
    }
    next_ = 0;
  }
  auto x = state_[next_++];
  x ^= (x >> 29) & 0x5555555555555555;
  x ^= (x << 17) & 0x71d67fffeda60000;
  x ^= (x << 37) & 0xfff7eee000000000;
  return x ^ (x >> 43);
}

}  // namespace inferno::model
