#include "model/assignment.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>

namespace inferno::model {

void assignment_problem::add_option(double option_value) {
  value.push_back(option_value);
  use_begin.push_back(uses.size());
}

void assignment_problem::add_use(int type, double units) {
  if (units == 0) return;
  for (auto u = use_begin[use_begin.size() - 2]; u < uses.size(); ++u)
    if (uses[u].type == type) {
      uses[u].units += units;
      return;
    }
  uses.push_back({type, units});
  use_begin.back() = uses.size();
}

namespace {

class search {
 public:
  search(const assignment_problem& p, std::vector<std::size_t> start, const assignment_effort& effort)
      : p_(p),
        effort_(effort),
        best_(std::move(start)),
        price_(p.capacity.size(), 0.0),
        reduced_(p.value.size()),
        weight_(p.value.size()) {
    for (const double v : p_.value) scale_ = std::max(scale_, std::abs(v));
    best_value_ = value_of(best_);
    best_price_ = price_;
  }

  assignment_solution run() {
    ascend();
    if (!closed() && effort_.search_nodes > 0) branch();
    assignment_solution out;
    out.choice = best_;
    out.value = best_value_;
    out.proven = closed();
    out.lower_bound = out.proven ? best_value_ : std::min(lower_, best_value_);
    out.price = best_price_;
    return out;
  }

 private:
  double value_of(const std::vector<std::size_t>& choice) const {
    double sum = 0;
    for (const auto o : choice) sum += p_.value[o];
    return sum;
  }
  /// Below this two values are the same.
  double tolerance() const { return 1e-9 * std::max(scale_, std::abs(best_value_)); }
  bool closed() const { return best_value_ - lower_ <= tolerance(); }

  void use(std::vector<double>& room, std::size_t option, double sign) const {
    for (auto u = p_.use_begin[option]; u < p_.use_begin[option + 1]; ++u)
      room[static_cast<std::size_t>(p_.uses[u].type)] -= sign * p_.uses[u].units;
  }
  bool fits(const std::vector<double>& room, std::size_t option) const {
    for (auto u = p_.use_begin[option]; u < p_.use_begin[option + 1]; ++u)
      if (p_.uses[u].units > room[static_cast<std::size_t>(p_.uses[u].type)] + 1e-9) return false;
    return true;
  }

  /// L(price) = sum_i min_o (value + price * units) - price * capacity; the choice of the minima is left in `choice`.
  double relax(std::vector<std::size_t>& choice) {
    double bound = 0;
    for (std::size_t t = 0; t < price_.size(); ++t) bound -= price_[t] * p_.capacity[t];
    for (std::size_t i = 0; i < p_.items(); ++i) {
      double least = std::numeric_limits<double>::infinity();
      std::size_t at = p_.item_begin[i];
      for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o) {
        double x = p_.value[o];
        for (auto u = p_.use_begin[o]; u < p_.use_begin[o + 1]; ++u)
          x += price_[static_cast<std::size_t>(p_.uses[u].type)] * p_.uses[u].units;
        reduced_[o] = x;
        if (x < least) {
          least = x;
          at = o;
        }
      }
      choice[i] = at;
      bound += least;
    }
    return bound;
  }

  void raise(double bound) {
    if (effort_.integral) bound = std::ceil(bound - 1e-6);
    lower_ = std::max(lower_, bound);
  }

  /// The best prices, by a smooth stand-in for L: each minimum is replaced by a soft one of temperature tau (Nesterov, "Smooth
  /// minimization of non-smooth functions", 2005), which Newton steps maximize over prices >= 0; tau falls until little is soft.
  void ascend() {
    std::vector<std::size_t> choice(p_.items());
    if (look(choice, false)) return;
    double tau = 0.25 * spread();
    const double coldest = tau * 1e-5;
    for (; tau > coldest; tau *= 0.1) {
      for (int k = 0; k < 8 && newton(tau); ++k) {
      }
      if (look(choice, tau < 0.01 * spread())) return;
      if (good_enough()) break;
    }
    if (!good_enough()) walk(choice);
    price_ = best_price_;
    relax(choice);
    // Prices are as good as they get: what is left is the packing.
    for (auto* from : {&best_, &choice}) {
      auto plan = *from;
      auto room = room_of(plan);
      repair(plan, room);
      exchange(plan, room);
      offer(std::move(plan), std::move(room));
    }
  }

  /// Subgradient steps of Polyak's length from the best prices on: where L has few kinks near its top, they do what Newton steps
  /// cannot.
  void walk(std::vector<std::size_t>& choice) {
    double theta = 1;
    int since_better = 0;
    price_ = best_price_;
    std::vector<double> step(price_.size());
    for (int k = 0; k < 150 && theta > 1e-3; ++k) {
      const double before = best_bound_;
      const double bound = relax(choice);
      if (bound > best_bound_) {
        best_bound_ = bound;
        best_price_ = price_;
        raise(bound);
      }
      since_better = best_bound_ > before + 1e-9 * std::abs(before) ? 0 : since_better + 1;
      if (since_better >= 6) {
        theta /= 2;
        since_better = 0;
        price_ = best_price_;
        relax(choice);
      }
      const auto room = room_of(choice);
      double length = 0;
      for (std::size_t t = 0; t < price_.size(); ++t) {
        // Over-use pulls the price up, room pulls it down; where the price is 0 already, room does not count.
        step[t] = price_[t] <= 0 && room[t] >= 0 ? 0 : -room[t];
        length += step[t] * step[t];
      }
      if (length <= 0) return;
      const double by = theta * std::max(best_value_ - bound, tolerance()) / length;
      for (std::size_t t = 0; t < price_.size(); ++t) price_[t] = std::max(0.0, price_[t] + by * step[t]);
    }
  }

  std::vector<double> room_of(const std::vector<std::size_t>& choice) const {
    auto room = p_.capacity;
    for (const auto o : choice) use(room, o, 1);
    return room;
  }

  /// Better than the caller asked for.
  bool good_enough() const { return best_value_ - lower_ <= effort_.enough; }

  /// L at the present prices; its answer as a plan if it is feasible or, with `mend`, can be made so. true: proven.
  bool look(std::vector<std::size_t>& choice, bool mend) {
    const double bound = relax(choice);
    if (bound > best_bound_) {
      best_bound_ = bound;
      best_price_ = price_;
    }
    raise(bound);
    auto room = room_of(choice);
    if (mend) repair(choice, room);
    offer(choice, room);
    return closed();
  }

  /// How far an item's options lie apart, on average.
  double spread() const {
    double sum = 0;
    for (std::size_t i = 0; i < p_.items(); ++i) {
      const auto first = p_.value.begin() + static_cast<std::ptrdiff_t>(p_.item_begin[i]);
      const auto [least, most] = std::minmax_element(first, p_.value.begin() + static_cast<std::ptrdiff_t>(p_.item_begin[i + 1]));
      sum += *most - *least;
    }
    return std::max(sum / static_cast<double>(p_.items()), 1e-12);
  }

  /// Value, gradient and Hessian of the soft L. The Hessian is that of -L, so positive semidefinite.
  double soft(double tau, std::vector<double>& gradient, std::vector<double>& hessian) {
    const std::size_t types = price_.size();
    gradient.assign(types, 0);
    hessian.assign(types * types, 0);
    double value = 0;
    for (std::size_t t = 0; t < types; ++t) {
      gradient[t] = -p_.capacity[t];
      value -= price_[t] * p_.capacity[t];
    }
    constexpr double negligible = 20;  // temperatures above the least: a weight of 2e-9
    std::vector<double> mean(types);
    std::vector<std::size_t> touched;
    for (std::size_t i = 0; i < p_.items(); ++i) {
      const auto from = p_.item_begin[i], to = p_.item_begin[i + 1];
      double least = std::numeric_limits<double>::infinity(), second = least;
      std::size_t at = from;
      for (auto o = from; o < to; ++o) {
        double x = p_.value[o];
        for (auto u = p_.use_begin[o]; u < p_.use_begin[o + 1]; ++u)
          x += price_[static_cast<std::size_t>(p_.uses[u].type)] * p_.uses[u].units;
        reduced_[o] = x;
        if (x < least) {
          second = least;
          least = x;
          at = o;
        } else {
          second = std::min(second, x);
        }
      }
      // Most items have made up their minds: nothing about them is soft.
      if (second - least >= negligible * tau) {
        value += least;
        for (auto u = p_.use_begin[at]; u < p_.use_begin[at + 1]; ++u)
          gradient[static_cast<std::size_t>(p_.uses[u].type)] += p_.uses[u].units;
        continue;
      }
      double sum = 0;
      for (auto o = from; o < to; ++o) {
        const double x = (reduced_[o] - least) / tau;
        weight_[o] = x <= 0 ? 1 : x < negligible ? std::exp(-x) : 0;
        sum += weight_[o];
      }
      value += least - tau * std::log(sum);
      touched.clear();
      for (auto o = from; o < to; ++o) {
        const double w = weight_[o] / sum;
        if (w == 0) continue;
        for (auto u = p_.use_begin[o]; u < p_.use_begin[o + 1]; ++u) {
          const auto t = static_cast<std::size_t>(p_.uses[u].type);
          const double expected = w * p_.uses[u].units;
          if (mean[t] == 0) touched.push_back(t);
          mean[t] += expected;
          for (auto v = p_.use_begin[o]; v < p_.use_begin[o + 1]; ++v)
            hessian[t * types + static_cast<std::size_t>(p_.uses[v].type)] += expected * p_.uses[v].units;
        }
      }
      for (const auto t : touched) {
        gradient[t] += mean[t];
        for (const auto k : touched) hessian[t * types + k] -= mean[t] * mean[k];
      }
      for (const auto t : touched) mean[t] = 0;
    }
    for (auto& h : hessian) h /= tau;
    return value;
  }

  /// One step, damped (Levenberg-Marquardt) until it helps. false: nothing more to gain at this temperature.
  bool newton(double tau) {
    if (soft_at_ != tau) soft_value_ = soft(tau, gradient_, hessian_);
    soft_at_ = tau;
    const std::size_t types = price_.size();
    std::vector<std::size_t> free;
    double left = 0;
    for (std::size_t t = 0; t < types; ++t)
      if (price_[t] > 0 || gradient_[t] > 0) {
        free.push_back(t);
        left = std::max(left, std::abs(gradient_[t]) / std::max(1.0, p_.capacity[t]));
      }
    if (left < 1e-3) return false;
    const auto from = price_;
    std::vector<double> gradient, hessian;
    for (int tries = 0; tries < 8; ++tries) {
      const auto step = solve(free, hessian_, gradient_, damping_);
      for (std::size_t k = 0; k < free.size(); ++k) price_[free[k]] = std::max(0.0, from[free[k]] + step[k]);
      const double value = soft(tau, gradient, hessian);
      if (value > soft_value_) {
        soft_value_ = value;
        gradient_.swap(gradient);
        hessian_.swap(hessian);
        damping_ = std::max(1e-9, damping_ / 10);
        return true;
      }
      damping_ = std::min(1e9, damping_ * 10);
    }
    price_ = from;
    return false;
  }

  /// (H + damping diag H) x = g on the free types, by Cholesky.
  static std::vector<double> solve(const std::vector<std::size_t>& free, const std::vector<double>& hessian,
                                   const std::vector<double>& gradient, double damping) {
    const std::size_t n = free.size(), types = gradient.size();
    std::vector<double> a(n * n), x(n);
    double largest = 0;
    for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, hessian[free[i] * types + free[i]]);
    for (std::size_t i = 0; i < n; ++i) {
      x[i] = gradient[free[i]];
      for (std::size_t j = 0; j < n; ++j) a[i * n + j] = hessian[free[i] * types + free[j]];
      a[i * n + i] += damping * (a[i * n + i] + 1e-6 * largest) + 1e-12 * largest + 1e-300;
    }
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t k = 0; k < j; ++k) a[j * n + j] -= a[j * n + k] * a[j * n + k];
      a[j * n + j] = std::sqrt(std::max(a[j * n + j], 1e-15 * largest + 1e-300));
      for (std::size_t i = j + 1; i < n; ++i) {
        for (std::size_t k = 0; k < j; ++k) a[i * n + j] -= a[i * n + k] * a[j * n + k];
        a[i * n + j] /= a[j * n + j];
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t k = 0; k < i; ++k) x[i] -= a[i * n + k] * x[k];
      x[i] /= a[i * n + i];
    }
    for (std::size_t i = n; i-- > 0;) {
      for (std::size_t k = i + 1; k < n; ++k) x[i] -= a[k * n + i] * x[k];
      x[i] /= a[i * n + i];
    }
    return x;
  }

  /// A feasible plan, improved, is kept if it is the best so far.
  void offer(std::vector<std::size_t> choice, std::vector<double> room) {
    if (std::any_of(room.begin(), room.end(), [](double r) { return r < -1e-9; })) return;
    improve(choice, room);
    const double value = value_of(choice);
    if (value < best_value_ - tolerance()) {
      best_value_ = value;
      best_ = std::move(choice);
    }
  }

  struct move {
    double loss;  ///< reduced cost lost for each unit set free
    std::size_t item, option;
  };

  double units(std::size_t option, int type) const {
    double sum = 0;
    for (auto u = p_.use_begin[option]; u < p_.use_begin[option + 1]; ++u)
      if (p_.uses[u].type == type) sum += p_.uses[u].units;
    return sum;
  }

  /// Moves items off the types that are used beyond capacity, the least lost per unit first.
  bool repair(std::vector<std::size_t>& choice, std::vector<double>& room) {
    std::vector<move> moves;
    for (int round = 0; round < 3; ++round) {
      bool over = false;
      for (std::size_t t = 0; t < room.size(); ++t) {
        if (room[t] >= -1e-9) continue;
        over = true;
        moves.clear();
        const int type = static_cast<int>(t);
        for (std::size_t i = 0; i < p_.items(); ++i) {
          const double held = units(choice[i], type);
          if (held <= 0) continue;
          for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o) {
            const double freed = held - units(o, type);
            if (freed > 0) moves.push_back({(reduced_[o] - reduced_[choice[i]]) / std::min(freed, -room[t]), i, o});
          }
        }
        std::sort(moves.begin(), moves.end(), [](const move& a, const move& b) {
          return std::tie(a.loss, a.item, a.option) < std::tie(b.loss, b.item, b.option);
        });
        for (const auto& m : moves) {
          if (room[t] >= -1e-9) break;
          const auto now = choice[m.item];
          if (units(now, type) <= units(m.option, type)) continue;  // moved already
          use(room, now, -1);
          // The type itself may stay over-used for a while; the others must not become it.
          bool ok = true;
          for (auto u = p_.use_begin[m.option]; ok && u < p_.use_begin[m.option + 1]; ++u)
            ok = p_.uses[u].type == type || p_.uses[u].units <= room[static_cast<std::size_t>(p_.uses[u].type)] + 1e-9;
          const auto next = ok ? m.option : now;
          choice[m.item] = next;
          use(room, next, 1);
        }
      }
      if (!over) return true;
    }
    return std::all_of(room.begin(), room.end(), [](double r) { return r >= -1e-9; });
  }

  /// Every item to the best option there is room for, the largest gains first, until nothing moves; then pairs: one item makes
  /// room for another that gains more.
  void improve(std::vector<std::size_t>& choice, std::vector<double>& room) {
    std::vector<move> gains;
    for (int pass = 0; pass < 4; ++pass) {
      gains.clear();
      for (std::size_t i = 0; i < p_.items(); ++i)
        for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o)
          if (p_.value[o] < p_.value[choice[i]]) gains.push_back({p_.value[o] - p_.value[choice[i]], i, o});
      std::sort(gains.begin(), gains.end(), [](const move& a, const move& b) {
        return std::tie(a.loss, a.item, a.option) < std::tie(b.loss, b.item, b.option);
      });
      bool moved = false;
      for (const auto& g : gains) {
        const auto now = choice[g.item];
        if (p_.value[g.option] >= p_.value[now]) continue;
        use(room, now, -1);
        const bool ok = fits(room, g.option);
        choice[g.item] = ok ? g.option : now;
        use(room, choice[g.item], 1);
        moved |= ok;
      }
      if (!moved) break;
    }
  }

  // ---- exchanges --------------------------------------------------------------------------------------------------------------

  /// An item's change of option: what it costs, and what it takes of the types it touches.
  struct change {
    double reduced, value;
    std::size_t item, option;
    std::vector<assignment_problem::use> takes;
  };

  /// For every type the changes that free some of it, and those that take some, which lose the least in reduced cost.
  std::vector<change> promising(const std::vector<std::size_t>& choice, std::size_t most) const {
    const std::size_t types = price_.size();
    std::vector<std::vector<move>> kinds(2 * types + 1);  // frees t, takes t, neither
    const auto less = [](const move& a, const move& b) {
      return std::tie(a.loss, a.item, a.option) < std::tie(b.loss, b.item, b.option);
    };
    // Heaps of the least, the greatest of them on top.
    const auto offer_to = [&](std::vector<move>& kind, const move& m) {
      if (kind.size() == most && !less(m, kind.front())) return;
      if (kind.size() == most) {
        std::pop_heap(kind.begin(), kind.end(), less);
        kind.pop_back();
      }
      kind.push_back(m);
      std::push_heap(kind.begin(), kind.end(), less);
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
    std::sort(all.begin(), all.end(), less);
    all.erase(std::unique(all.begin(), all.end(), same), all.end());
    std::vector<change> out;
    for (const auto& m : all) out.push_back(make_change(choice, m.item, m.option));
    return out;
  }

  change make_change(const std::vector<std::size_t>& choice, std::size_t item, std::size_t option) const {
    const auto now = choice[item];
    change c{reduced_[option] - reduced_[now], p_.value[option] - p_.value[now], item, option, {}};
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
  double penalty(std::size_t t, double room) const { return room >= -1e-9 ? 0 : -room * (3 * best_price_[t] + 1e-3 * scale_); }
  /// What `c` changes in reduced cost (room left counts at its price) and penalty, in this room.
  double effect(const change& c, const std::vector<double>& room) const {
    double sum = c.reduced;
    for (const auto& t : c.takes) {
      const auto at = static_cast<std::size_t>(t.type);
      sum += penalty(at, room[at] - t.units) - penalty(at, room[at]);
    }
    return sum;
  }

  /// Single changes and pairs of them, the best first, as long as reduced cost and over-use together fall.
  void exchange(std::vector<std::size_t>& choice, std::vector<double>& room) {
    constexpr std::size_t kernel = 16;
    for (int round = 0; round < 4; ++round) {
      auto changes = promising(choice, kernel);
      bool moved = false;
      while (const auto pair = best_pair(changes, room)) {
        moved = true;
        for (const auto k : {pair->first, pair->second})
          if (k < changes.size()) {
            take(changes[k], room, 1);
            choice[changes[k].item] = changes[k].option;
          }
        // Changes of what moved are stale.
        const auto first = changes[pair->first].item;
        const auto second = pair->second < changes.size() ? changes[pair->second].item : first;
        std::erase_if(changes, [&](const change& c) { return c.item == first || c.item == second; });
      }
      if (!moved) return;
    }
  }

  static void take(const change& c, std::vector<double>& room, double sign) {
    for (const auto& t : c.takes) room[static_cast<std::size_t>(t.type)] -= sign * t.units;
  }

  /// The change, or the two of different items, that help most; the second is past the end for a single one.
  std::optional<std::pair<std::size_t, std::size_t>> best_pair(const std::vector<change>& changes,
                                                               std::vector<double>& room) const {
    double best = -tolerance();
    std::optional<std::pair<std::size_t, std::size_t>> found;
    for (std::size_t a = 0; a < changes.size(); ++a) {
      const double one = effect(changes[a], room);
      if (one < best) {
        best = one;
        found = {a, changes.size()};
      }
      take(changes[a], room, 1);
      for (std::size_t b = a + 1; b < changes.size(); ++b) {
        if (changes[b].item == changes[a].item) continue;
        const double both = one + effect(changes[b], room);
        if (both < best) {
          best = both;
          found = {a, b};
        }
      }
      take(changes[a], room, -1);
    }
    return found;
  }

  // ---- branch and bound -------------------------------------------------------------------------------------------------------

  struct branch_item {
    std::size_t item;
    std::vector<std::size_t> options;  ///< by excess
    double second;                     ///< excess of the second one
  };

  double excess(std::size_t item, std::size_t option) const { return reduced_[option] - least_[item]; }

  /// With the best prices fixed, a solution costs L plus the excesses of its options plus the price of the room it leaves.
  /// Options whose excess alone is beyond the gap are out; the rest is searched depth first.
  void branch() {
    price_ = best_price_;
    std::vector<std::size_t> choice(p_.items());
    root_ = relax(choice);
    least_.resize(p_.items());
    std::vector<double> room = p_.capacity;
    std::vector<std::size_t> now(p_.items());
    std::vector<branch_item> open;
    for (std::size_t i = 0; i < p_.items(); ++i) {
      least_[i] = reduced_[choice[i]];
      branch_item b{i, {}, std::numeric_limits<double>::infinity()};
      for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o)
        if (root_ + excess(i, o) < target()) b.options.push_back(o);
      std::sort(b.options.begin(), b.options.end(),
                [&](auto x, auto y) { return std::pair(excess(i, x), x) < std::pair(excess(i, y), y); });
      if (b.options.empty()) return settle();  // nothing below the best there is
      if (b.options.size() == 1) {
        now[i] = b.options.front();
        use(room, now[i], 1);
        root_ += excess(i, now[i]);
        continue;
      }
      b.second = excess(i, b.options[1]);
      open.push_back(std::move(b));
    }
    if (std::any_of(room.begin(), room.end(), [](double r) { return r < -1e-9; })) return settle();
    // Those with the most to lose first: wrong turns end early.
    std::sort(open.begin(), open.end(),
              [](const auto& a, const auto& b) { return std::tie(b.second, a.item) < std::tie(a.second, b.item); });
    // Too many open items are not searched through in any number of steps.
    if (static_cast<std::int64_t>(open.size()) * 100 > effort_.search_nodes) return;
    nodes_ = 0;
    if (descend(open, 0, root_, room, now)) settle();
  }

  /// What a solution must stay below to be of use.
  double target() const { return effort_.integral ? best_value_ - 1 + 1e-6 : best_value_ - tolerance(); }
  void settle() { lower_ = best_value_; }

  /// false: out of nodes. `bound` holds the excesses so far; the price of room left unused is added where it is certain.
  bool descend(const std::vector<branch_item>& open, std::size_t depth, double bound, std::vector<double>& room,
               std::vector<std::size_t>& now) {
    if (++nodes_ > effort_.search_nodes) return false;
    if (depth == open.size()) {
      const double value = value_of(now);
      if (value < best_value_ - tolerance()) {
        best_value_ = value;
        best_ = now;
      }
      return true;
    }
    const auto& b = open[depth];
    for (const auto o : b.options) {
      if (bound + excess(b.item, o) >= target()) break;
      if (!fits(room, o)) continue;
      now[b.item] = o;
      use(room, o, 1);
      const bool done = descend(open, depth + 1, bound + excess(b.item, o), room, now);
      use(room, o, -1);
      if (!done) return false;
    }
    return true;
  }

  const assignment_problem& p_;
  assignment_effort effort_;
  std::vector<std::size_t> best_;
  double best_value_ = 0;
  double scale_ = 0;  ///< the largest value of an option
  double lower_ = -std::numeric_limits<double>::infinity();
  std::vector<double> price_, best_price_;
  std::vector<double> reduced_;  ///< value + price of every option, of the last relax()
  std::vector<double> least_;
  std::vector<double> weight_;
  double best_bound_ = -std::numeric_limits<double>::infinity();
  std::vector<double> gradient_, hessian_;  ///< of the soft L at the present prices and the temperature soft_at_
  double soft_value_ = 0, soft_at_ = -1;
  double damping_ = 1e-6;
  double root_ = 0;
  std::int64_t nodes_ = 0;
};

}  // namespace

assignment_solution solve_assignment(const assignment_problem& problem, std::vector<std::size_t> start,
                                     const assignment_effort& effort) {
  return search(problem, std::move(start), effort).run();
}

}  // namespace inferno::model
