#include "actors/liveness.hpp"

#include <fmt/format.h>

namespace inferno::actors {

void liveness::expect(const std::string& component) {
  const std::lock_guard lock(mutex_);
  last_.try_emplace(component, now_());
}

void liveness::answered(const std::string& component) {
  const std::lock_guard lock(mutex_);
  last_[component] = now_();
}

void liveness::end() {
  const std::lock_guard lock(mutex_);
  ended_ = true;
}

std::string liveness::problem() const {
  const std::lock_guard lock(mutex_);
  if (ended_) return "the supervisor has ended";
  std::string out;
  for (const auto& [component, at] : last_) {
    const auto silent = now_() - at;
    if (silent <= limit) continue;
    out += fmt::format("{}the {} has not answered for {} s", out.empty() ? "" : "; ", component,
                       std::chrono::duration_cast<std::chrono::seconds>(silent).count());
  }
  return out;
}

}  // namespace inferno::actors
