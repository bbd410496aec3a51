#include "model/assignment/local_search.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace inferno::model {
namespace {

/// Units are whole numbers: less than this is rounding.
constexpr double unit_rounding = 1e-9;

void use(const assignment_problem& p, std::vector<double>& room, std::size_t option, double sign) {
  for (auto u = p.use_begin[option]; u < p.use_begin[option + 1]; ++u)
    room[static_cast<std::size_t>(p.uses[u].type)] -= sign * p.uses[u].units;
}

}  // namespace

std::vector<double> room_of(const assignment_problem& problem, const std::vector<std::size_t>& choice) {
  auto room = problem.capacity;
  for (const auto o : choice) use(problem, room, o, 1);
  return room;
}

bool feasible(const std::vector<double>& room) {
  return std::all_of(room.begin(), room.end(), [](double r) { return r >= -unit_rounding; });
}

double value_of(const assignment_problem& problem, const std::vector<std::size_t>& choice) {
  double sum = 0;
  for (const auto o : choice) sum += problem.value[o];
  return sum;
}

local_search::local_search(const assignment_problem& problem, std::vector<double> price, double tolerance)
    : p_(problem), price_(std::move(price)), reduced_(problem.value), tolerance_(tolerance) {
  for (std::size_t o = 0; o < reduced_.size(); ++o) {
    scale_ = std::max(scale_, std::abs(p_.value[o]));
    for (auto u = p_.use_begin[o]; u < p_.use_begin[o + 1]; ++u)
      reduced_[o] += price_[static_cast<std::size_t>(p_.uses[u].type)] * p_.uses[u].units;
  }
}

bool local_search::earlier(const move& a, const move& b) {
  return std::tie(a.loss, a.item, a.option) < std::tie(b.loss, b.item, b.option);
}

/// Whether there is room for the option; `except`: a type that may stay over-used, -1 = none.
bool local_search::fits(const std::vector<double>& room, std::size_t option, int except) const {
  for (auto u = p_.use_begin[option]; u < p_.use_begin[option + 1]; ++u)
    if (p_.uses[u].type != except && p_.uses[u].units > room[static_cast<std::size_t>(p_.uses[u].type)] + unit_rounding)
      return false;
  return true;
}

double local_search::units(std::size_t option, int type) const {
  double sum = 0;
  for (auto u = p_.use_begin[option]; u < p_.use_begin[option + 1]; ++u)
    if (p_.uses[u].type == type) sum += p_.uses[u].units;
  return sum;
}

std::vector<local_search::move> local_search::moves_off(int type, double excess, const std::vector<std::size_t>& choice) const {
  std::vector<move> out;
  for (std::size_t i = 0; i < p_.items(); ++i) {
    const double held = units(choice[i], type);
    if (held <= 0) continue;
    for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o)
      if (const double freed = held - units(o, type); freed > 0)
        out.push_back({(reduced_[o] - reduced_[choice[i]]) / std::min(freed, excess), i, o});
  }
  std::sort(out.begin(), out.end(), earlier);
  return out;
}

bool local_search::repair(std::vector<std::size_t>& choice, std::vector<double>& room) const {
  for (int round = 0; round < 3 && !feasible(room); ++round)
    for (std::size_t t = 0; t < room.size(); ++t) {
      if (room[t] >= -unit_rounding) continue;
      const int type = static_cast<int>(t);
      for (const auto& m : moves_off(type, -room[t], choice)) {
        if (room[t] >= -unit_rounding) break;
        const auto now = choice[m.item];
        if (units(now, type) <= units(m.option, type)) continue;  // moved already
        use(p_, room, now, -1);
        // The type itself may stay over-used for a while; the others must not become it.
        choice[m.item] = fits(room, m.option, type) ? m.option : now;
        use(p_, room, choice[m.item], 1);
      }
    }
  return feasible(room);
}

void local_search::improve(std::vector<std::size_t>& choice, std::vector<double>& room) const {
  for (int pass = 0; pass < 4; ++pass) {
    std::vector<move> gains;
    for (std::size_t i = 0; i < p_.items(); ++i)
      for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o)
        if (p_.value[o] < p_.value[choice[i]]) gains.push_back({p_.value[o] - p_.value[choice[i]], i, o});
    std::sort(gains.begin(), gains.end(), earlier);
    bool moved = false;
    for (const auto& g : gains) {
      const auto now = choice[g.item];
      if (p_.value[g.option] >= p_.value[now]) continue;
      use(p_, room, now, -1);
      const bool ok = fits(room, g.option, -1);
      choice[g.item] = ok ? g.option : now;
      use(p_, room, choice[g.item], 1);
      moved |= ok;
    }
    if (!moved) return;
  }
}

/// For every type the changes that free some of it, and those that take some, which lose the least reduced value.
std::vector<local_search::change> local_search::promising(const std::vector<std::size_t>& choice, std::size_t most) const {
  const std::size_t types = price_.size();
  std::vector<std::vector<move>> kinds(2 * types + 1);  // frees t, takes t, neither
  // Heaps of the least, the greatest of them on top.
  const auto offer_to = [&](std::vector<move>& kind, const move& m) {
    if (kind.size() == most && !earlier(m, kind.front())) return;
    if (kind.size() == most) {
      std::pop_heap(kind.begin(), kind.end(), earlier);
      kind.pop_back();
    }
    kind.push_back(m);
    std::push_heap(kind.begin(), kind.end(), earlier);
  };
  for (std::size_t i = 0; i < p_.items(); ++i) {
    const auto now = choice[i];
    for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o) {
      if (o == now) continue;
      const move m{reduced_[o] - reduced_[now], i, o};
      bool touches = false;
      for (auto u = p_.use_begin[now]; u < p_.use_begin[now + 1]; ++u)
        if (p_.uses[u].units > units(o, p_.uses[u].type)) {
          offer_to(kinds[static_cast<std::size_t>(p_.uses[u].type)], m);
          touches = true;
        }
      for (auto u = p_.use_begin[o]; u < p_.use_begin[o + 1]; ++u)
        if (p_.uses[u].units > units(now, p_.uses[u].type)) {
          offer_to(kinds[types + static_cast<std::size_t>(p_.uses[u].type)], m);
          touches = true;
        }
      if (!touches) offer_to(kinds[2 * types], m);
    }
  }
  std::vector<move> all;
  for (const auto& kind : kinds) all.insert(all.end(), kind.begin(), kind.end());
  const auto same = [](const move& a, const move& b) { return a.item == b.item && a.option == b.option; };
  std::sort(all.begin(), all.end(), earlier);
  all.erase(std::unique(all.begin(), all.end(), same), all.end());
  std::vector<change> out;
  for (const auto& m : all) out.push_back(make_change(choice, m.item, m.option));
  return out;
}

local_search::change local_search::make_change(const std::vector<std::size_t>& choice, std::size_t item,
                                               std::size_t option) const {
  const auto now = choice[item];
  change c{reduced_[option] - reduced_[now], item, option, {}};
  const auto take = [&](int type, double units) {
    for (auto& t : c.takes)
      if (t.type == type) {
        t.units += units;
        return;
      }
    c.takes.push_back({type, units});
  };
  for (auto u = p_.use_begin[option]; u < p_.use_begin[option + 1]; ++u) take(p_.uses[u].type, p_.uses[u].units);
  for (auto u = p_.use_begin[now]; u < p_.use_begin[now + 1]; ++u) take(p_.uses[u].type, -p_.uses[u].units);
  return c;
}

/// Value of over-use, dear enough that every exchange that ends it pays.
double local_search::penalty(std::size_t type, double room) const {
  return room >= -unit_rounding ? 0 : -room * (3 * price_[type] + 1e-3 * scale_);
}

/// What `c` changes in reduced value (room left counts at its price) and penalty, in this room.
double local_search::effect(const change& c, const std::vector<double>& room) const {
  double sum = c.reduced;
  for (const auto& t : c.takes) {
    const auto at = static_cast<std::size_t>(t.type);
    sum += penalty(at, room[at] - t.units) - penalty(at, room[at]);
  }
  return sum;
}

std::int64_t local_search::exchange(std::vector<std::size_t>& choice, std::vector<double>& room) const {
  constexpr std::size_t kernel = 16;
  std::int64_t looked_at = 0;
  for (int round = 0; round < 4; ++round) {
    auto changes = promising(choice, kernel);
    bool moved = false;
    for (;;) {
      looked_at += static_cast<std::int64_t>(changes.size() * (changes.size() + 1) / 2);
      const auto found = best_pair(changes, room);
      if (!found) break;
      moved = true;
      for (const auto k : {found->first, found->second})
        if (k < changes.size()) {
          for (const auto& t : changes[k].takes) room[static_cast<std::size_t>(t.type)] -= t.units;
          choice[changes[k].item] = changes[k].option;
        }
      // Changes of what moved are stale.
      const auto first = changes[found->first].item;
      const auto second = found->second < changes.size() ? changes[found->second].item : first;
      std::erase_if(changes, [&](const change& c) { return c.item == first || c.item == second; });
    }
    if (!moved) break;
  }
  return looked_at;
}

/// The change, or the two of different items, that help most; the second is past the end for a single one.
std::optional<local_search::pair> local_search::best_pair(const std::vector<change>& changes, std::vector<double>& room) const {
  double best = -tolerance_;
  std::optional<pair> found;
  for (std::size_t a = 0; a < changes.size(); ++a) {
    const double one = effect(changes[a], room);
    if (one < best) {
      best = one;
      found = {a, changes.size()};
    }
    for (const auto& t : changes[a].takes) room[static_cast<std::size_t>(t.type)] -= t.units;
    for (std::size_t b = a + 1; b < changes.size(); ++b) {
      if (changes[b].item == changes[a].item) continue;
      const double both = one + effect(changes[b], room);
      if (both < best) {
        best = both;
        found = {a, b};
      }
    }
    for (const auto& t : changes[a].takes) room[static_cast<std::size_t>(t.type)] += t.units;
  }
  return found;
}

}  // namespace inferno::model
