#include "actors/pool_change.hpp"

#include <algorithm>
#include <cmath>

namespace inferno::actors {
namespace {

class transition {
 public:
  transition(const std::vector<pool_step>& members, const pool_aim& aim, const model::gpu_limits& gpus)
      : members_(members), gpus_(gpus), demand_(aim.demand * (1 - 1e-9)) {
    for (const auto& m : members) now_.push_back(m.moves ? m.has : m.wanted);
    kept_ = serving([](const pool_step& m, std::size_t) { return m.ready; });
    kept_.rate = std::min(kept_.rate * (1 - 1e-9), demand_);
    kept_.slots = std::min(kept_.slots, aim.in_flight);
    kept_.replicas = std::min(kept_.replicas, aim.least_ready);
  }

  std::vector<int> run() {
    while (keep_more()) {
    }
    keep_what_starts();
    for (std::size_t t = 0; t < gpus_.size(); ++t) fit(static_cast<int>(t));
    for (std::size_t i = 0; i < members_.size(); ++i)
      if (members_[i].moves) now_[i] = members_[i].wanted;
    return std::move(now_);
  }

 private:
  struct service {
    double rate = 0;
    double slots = 0;
    int replicas = 0;
  };
  template <class Ready>
  service serving(Ready ready) const {
    service out;
    for (std::size_t i = 0; i < members_.size(); ++i) {
      const int n = ready(members_[i], i);
      out.rate += n * members_[i].rate;
      out.slots += 1.0 * n * members_[i].batch;
      out.replicas += n;
    }
    return out;
  }

  bool on(std::size_t i, int type) const { return members_[i].type == type && !members_[i].moves; }
  int growth(std::size_t i) const { return std::max(0, now_[i] - members_[i].has); }
  /// Replicas beyond those planned.
  int kept(std::size_t i) const { return members_[i].moves ? 0 : std::max(0, now_[i] - members_[i].wanted); }
  int over(int type) const {
    std::int64_t held = 0;
    for (std::size_t i = 0; i < now_.size(); ++i)
      if (members_[i].type == type) held += static_cast<std::int64_t>(now_[i]) * members_[i].units;
    return static_cast<int>(std::min<std::int64_t>(held - gpus_[static_cast<std::size_t>(type)], 1 << 30));
  }

  /// Keeps the cheapest capacity that is Ready and was to go. False: enough is kept, or there is no more.
  bool keep_more() {
    const auto left = serving([this](const pool_step& m, std::size_t i) { return std::min(now_[i], m.ready); });
    const bool rate = left.rate < kept_.rate, slots = left.slots < kept_.slots, replicas = left.replicas < kept_.replicas;
    if (!rate && !slots && !replicas) return false;
    const auto worth = [&](const pool_step& m) { return rate ? m.rate : slots ? 1.0 * m.batch : 1.0; };
    const auto price = [&](std::size_t i) { return members_[i].cost / worth(members_[i]); };
    std::size_t best = now_.size();
    for (std::size_t i = 0; i < now_.size(); ++i) {
      const bool may = !members_[i].moves && now_[i] < std::min(members_[i].ready, members_[i].has);
      if (may && worth(members_[i]) > 0 && (best == now_.size() || price(i) < price(best))) best = i;
    }
    if (best == now_.size()) return false;
    const auto& m = members_[best];
    const double missing = rate ? kept_.rate - left.rate : slots ? kept_.slots - left.slots : kept_.replicas - left.replicas;
    now_[best] = static_cast<int>(std::clamp(now_[best] + std::ceil(missing / worth(m)), now_[best] + 1.0, 1.0 * m.ready));
    return true;
  }

  /// As long as what is Ready does not carry the demand, the cheapest of what has been asked for is kept: others would start no
  /// sooner.
  void keep_what_starts() {
    if (serving([](const pool_step& m, std::size_t) { return m.ready; }).rate >= demand_) return;
    const auto asked = serving([](const pool_step& m, std::size_t) { return m.has; }).rate * (1 - 1e-9);
    const auto price = [&](std::size_t i) { return members_[i].cost / members_[i].rate; };
    while (true) {
      const auto left = serving([this](const pool_step& m, std::size_t i) { return std::min(now_[i], m.has); }).rate;
      const double missing = std::min(asked, demand_) - left;
      std::size_t best = now_.size();
      for (std::size_t i = 0; i < now_.size(); ++i) {
        const bool may = !members_[i].moves && now_[i] < members_[i].has && members_[i].rate > 0;
        if (may && (best == now_.size() || price(i) < price(best))) best = i;
      }
      if (missing <= 0 || best == now_.size()) return;
      const auto& m = members_[best];
      now_[best] = static_cast<int>(std::clamp(now_[best] + std::ceil(missing / m.rate), now_[best] + 1.0, 1.0 * m.has));
    }
  }

  void fit(int type) {
    bool waits = false, under_way = false;
    std::size_t first = now_.size();
    for (std::size_t i = 0; i < now_.size(); ++i) {
      if (!on(i, type)) continue;
      under_way = under_way || members_[i].ready < std::min(members_[i].has, now_[i]);
      if (first == now_.size() && growth(i) > 0) first = i;
    }
    const bool grows = first < now_.size();
    for (std::size_t i = now_.size(); i-- > 0 && over(type) > 0;) {
      if (!on(i, type) || growth(i) == 0) continue;
      now_[i] -= std::min(growth(i), (over(type) + members_[i].units - 1) / std::max(members_[i].units, 1));
      waits = true;
    }
    release(type, over(type));
    bool growing = false;
    for (std::size_t i = 0; i < now_.size(); ++i) growing = growing || (on(i, type) && growth(i) > 0);
    if (!waits || !grows || growing || under_way) return;
    // Not one of the new replicas fits: room for one is made.
    const int missing = over(type) + members_[first].units;
    int kept_units = 0;
    for (std::size_t i = 0; i < now_.size(); ++i)
      if (on(i, type)) kept_units += kept(i) * members_[i].units;
    if (kept_units < missing) return;
    release(type, missing);
    ++now_[first];
  }

  /// So many GPUs, from those kept beyond the plan, the ones that carry least first.
  void release(int type, int gpus) {
    while (gpus > 0) {
      std::size_t best = now_.size();
      const auto carried = [&](std::size_t i) { return members_[i].rate / std::max(members_[i].units, 1); };
      for (std::size_t i = 0; i < now_.size(); ++i)
        if (on(i, type) && kept(i) > 0 && (best == now_.size() || carried(i) < carried(best))) best = i;
      if (best == now_.size()) return;
      const int units = std::max(members_[best].units, 1);
      const int n = std::min(kept(best), (gpus + units - 1) / units);
      now_[best] -= n;
      gpus -= n * units;
    }
  }

  const std::vector<pool_step>& members_;
  const model::gpu_limits& gpus_;
  double demand_;  ///< requests/s
  std::vector<int> now_;
  service kept_;  ///< what is Ready stays able to do
};

}  // namespace

std::vector<int> make_before_break(const std::vector<pool_step>& members, const pool_aim& aim, const model::gpu_limits& gpus) {
  return transition(members, aim, gpus).run();
}

}  // namespace inferno::actors
