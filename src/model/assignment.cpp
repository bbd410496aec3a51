#include "model/assignment.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
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
      : p_(p), effort_(effort), best_(std::move(start)), price_(p.capacity.size(), 0.0), reduced_(p.value.size()) {
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

  /// Subgradient steps of Polyak's length, each type in units of its own typical price.
  void ascend() {
    std::vector<std::size_t> choice(p_.items());
    std::vector<double> room, step(price_.size());
    double theta = 1;
    double best_bound = -std::numeric_limits<double>::infinity();
    int since_better = 0;
    for (int k = 0; k < effort_.dual_steps; ++k) {
      const double bound = relax(choice);
      raise(bound);
      room = p_.capacity;
      for (const auto o : choice) use(room, o, 1);
      const bool better = bound > best_bound + 1e-12 * std::abs(bound);
      if (better) {
        best_bound = bound;
        best_price_ = price_;
        since_better = 0;
      } else if (++since_better >= 8) {
        theta /= 2;
        since_better = 0;
        price_ = best_price_;
        if (theta < 1e-4) break;
      }
      // Repairs cost as much as a few steps; answers change little from one step to the next.
      if (k < 4 || k % 8 == 0 || k + 1 == effort_.dual_steps) offer(choice, room);
      if (closed()) return;
      double length = 0;
      for (std::size_t t = 0; t < price_.size(); ++t) {
        // Over-use pulls the price up, room pulls it down; where the price is 0 already, room does not count.
        step[t] = price_[t] <= 0 && room[t] >= 0 ? 0 : -room[t] / scale(t);
        length += step[t] * step[t];
      }
      if (length <= 0) return;
      const double by = theta * std::max(best_value_ - bound, tolerance()) / length;
      for (std::size_t t = 0; t < price_.size(); ++t) price_[t] = std::max(0.0, price_[t] + by * step[t] / scale(t));
    }
    price_ = best_price_;
    relax(choice);
    room = p_.capacity;
    for (const auto o : choice) use(room, o, 1);
    offer(choice, room);
  }
  double scale(std::size_t t) const { return std::max(1.0, std::sqrt(p_.capacity[t])); }

  /// A relaxed answer made feasible and improved, kept if it is the best so far.
  void offer(std::vector<std::size_t> choice, std::vector<double> room) {
    if (!repair(choice, room)) return;
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

  // ---- branch and bound -------------------------------------------------------------------------------------------------------

  struct branch_item {
    std::size_t item;
    std::vector<std::size_t> options;  ///< by excess
    double second;                     ///< excess of the second one
  };

  double excess(std::size_t item, std::size_t option) const { return reduced_[option] - least_[item]; }

  /// With the best prices fixed, a solution costs L plus the excesses of its options plus the price of the room it leaves. Options
  /// whose excess alone is beyond the gap are out; the rest is searched depth first.
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
  double root_ = 0;
  std::int64_t nodes_ = 0;
};

}  // namespace

assignment_solution solve_assignment(const assignment_problem& problem, std::vector<std::size_t> start,
                                     const assignment_effort& effort) {
  return search(problem, std::move(start), effort).run();
}

}  // namespace inferno::model
