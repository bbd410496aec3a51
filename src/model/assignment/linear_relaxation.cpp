#include "model/assignment/linear_relaxation.hpp"

#include <algorithm>
#include <cmath>

namespace inferno::model {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
/// Parts of an item, and units relative to capacity, below this are none.
constexpr double negligible = 1e-9;

}  // namespace

linear_relaxation::linear_relaxation(const assignment_problem& problem, std::vector<double> values)
    : p_(problem),
      values_(std::move(values)),
      key_(p_.items()),
      ties_(p_.items()),
      reduced_(p_.value.size()),
      slope_(p_.value.size()),
      over_(p_.capacity.size()),
      weight_(p_.capacity.size()),
      edge_(p_.capacity.size()) {}

price_basis linear_relaxation::origin() const {
  const std::size_t n = p_.capacity.size();
  price_basis out{std::vector<double>(n), std::vector<price_row>(n), std::vector<double>(n * n)};
  for (std::size_t t = 0; t < n; ++t) {
    out.rows[t].type = static_cast<int>(t);
    out.normals[t * n + t] = 1;
  }
  return out;
}

void linear_relaxation::set_normal(price_basis& basis, std::size_t row) const {
  const auto& r = basis.rows[row];
  double* normal = &basis.normals[row * basis.rows.size()];
  std::fill(normal, normal + basis.rows.size(), 0);
  if (r.is == price_row::kind::floor) {
    normal[r.type] = 1;
    return;
  }
  for (auto u = p_.use_begin[r.to]; u < p_.use_begin[r.to + 1]; ++u) normal[p_.uses[u].type] += p_.uses[u].units;
  for (auto u = p_.use_begin[r.from]; u < p_.use_begin[r.from + 1]; ++u) normal[p_.uses[u].type] -= p_.uses[u].units;
}

double linear_relaxation::dot_uses(std::size_t option, const std::vector<double>& v) const {
  double sum = 0;
  for (auto u = p_.use_begin[option]; u < p_.use_begin[option + 1]; ++u)
    sum += v[static_cast<std::size_t>(p_.uses[u].type)] * p_.uses[u].units;
  return sum;
}

void linear_relaxation::add_uses(std::vector<double>& to, std::size_t option, double sign) const {
  for (auto u = p_.use_begin[option]; u < p_.use_begin[option + 1]; ++u)
    to[static_cast<std::size_t>(p_.uses[u].type)] += sign * p_.uses[u].units;
}

/// Every item's cheapest option at the present prices; where options tie, the one the rows name.
void linear_relaxation::choose_keys(price_basis& basis) {
  std::fill(ties_.begin(), ties_.end(), 0);
  for (auto& row : basis.rows) {
    if (row.is != price_row::kind::tie) continue;
    if (fixed_[row.item] != unfixed) {
      row.is = price_row::kind::loose;
      continue;
    }
    ++ties_[row.item];
    key_[row.item] = row.from;
  }
  for (std::size_t t = 0; t < over_.size(); ++t) over_[t] = -p_.capacity[t];
  for (std::size_t i = 0; i < p_.items(); ++i) {
    if (fixed_[i] != unfixed) {
      key_[i] = fixed_[i];
    } else if (ties_[i] == 0) {
      double least = infinity;
      for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o)
        if (const double x = values_[o] + dot_uses(o, basis.price); x < least) {
          least = x;
          key_[i] = o;
        }
    }
    add_uses(over_, key_[i], 1);
  }
  work_ += static_cast<std::int64_t>(p_.value.size());
}

/// Gauss-Jordan with partial pivoting. false: the rows do not pin the prices down.
bool linear_relaxation::invert(const price_basis& basis) {
  const std::size_t n = basis.rows.size();
  auto a = basis.normals;
  inverse_.assign(n * n, 0);
  for (std::size_t r = 0; r < n; ++r) inverse_[r * n + r] = 1;
  for (std::size_t c = 0; c < n; ++c) {
    std::size_t pivot = c;
    for (std::size_t r = c + 1; r < n; ++r)
      if (std::abs(a[r * n + c]) > std::abs(a[pivot * n + c])) pivot = r;
    if (std::abs(a[pivot * n + c]) < 1e-9) return false;
    if (pivot != c)
      for (std::size_t k = 0; k < n; ++k) {
        std::swap(a[pivot * n + k], a[c * n + k]);
        std::swap(inverse_[pivot * n + k], inverse_[c * n + k]);
      }
    const double by = 1 / a[c * n + c];
    for (std::size_t k = 0; k < n; ++k) {
      a[c * n + k] *= by;
      inverse_[c * n + k] *= by;
    }
    for (std::size_t r = 0; r < n; ++r) {
      const double factor = a[r * n + c];
      if (r == c || factor == 0) continue;
      for (std::size_t k = 0; k < n; ++k) {
        a[r * n + k] -= factor * a[c * n + k];
        inverse_[r * n + k] -= factor * inverse_[c * n + k];
      }
    }
  }
  return true;
}

/// The parts of the rows: over + sum weight * normal = 0.
void linear_relaxation::weigh(const price_basis& basis) {
  const std::size_t n = basis.rows.size();
  for (std::size_t k = 0; k < n; ++k) {
    double sum = 0;
    for (std::size_t t = 0; t < n; ++t) sum -= over_[t] * inverse_[t * n + k];
    weight_[k] = sum;
  }
}

/// An item whose ties take more than all of it gets another key, so that the present one can leave. true: so it was.
bool linear_relaxation::change_key(price_basis& basis) {
  for (std::size_t k = 0; k < basis.rows.size(); ++k) {
    const auto& row = basis.rows[k];
    if (row.is != price_row::kind::tie) continue;
    double sum = 0;
    std::size_t largest = k;
    for (std::size_t j = 0; j < basis.rows.size(); ++j)
      if (basis.rows[j].is == price_row::kind::tie && basis.rows[j].item == row.item) {
        sum += weight_[j];
        if (weight_[j] > weight_[largest]) largest = j;
      }
    if (sum <= 1 + negligible) continue;
    const auto item = row.item, from = row.from, to = basis.rows[largest].to;
    for (std::size_t j = 0; j < basis.rows.size(); ++j) {
      auto& other = basis.rows[j];
      if (other.is != price_row::kind::tie || other.item != item) continue;
      other.from = to;
      if (j == largest) other.to = from;
      set_normal(basis, j);
    }
    add_uses(over_, from, -1);
    add_uses(over_, to, 1);
    key_[item] = to;
    return true;
  }
  return false;
}

linear_relaxation::leaving linear_relaxation::steepest(const price_basis& basis) const {
  const std::size_t n = basis.rows.size();
  leaving best;
  double most = 0;
  for (std::size_t k = 0; k < n; ++k) {
    const bool loose = basis.rows[k].is == price_row::kind::loose;
    const double violation = loose ? std::abs(weight_[k]) : -weight_[k];
    if (violation <= negligible) continue;
    double length = 0;
    for (std::size_t t = 0; t < n; ++t) length += inverse_[t * n + k] * inverse_[t * n + k];
    if (const double score = violation * violation / length; score > most) {
      most = score;
      best = {k, loose && weight_[k] > 0 ? -1.0 : 1.0};
    }
  }
  return best;
}

/// Where along the edge, not before `from`, another option of the item becomes its cheapest; at infinity if none does.
linear_relaxation::kink linear_relaxation::next_kink(std::size_t item, double from) const {
  const auto now = key_[item];
  kink out{infinity, item, now};
  for (auto o = p_.item_begin[item]; o < p_.item_begin[item + 1]; ++o) {
    const double closing = slope_[now] - slope_[o];
    if (closing <= 1e-12 * (std::abs(slope_[now]) + std::abs(slope_[o]))) continue;
    const double at = std::max(from, (reduced_[o] - reduced_[now]) / closing);
    // Of those that come at once, the one that falls fastest.
    if (at < out.at || (at == out.at && slope_[o] < slope_[out.to])) out = {at, item, o};
  }
  return out;
}

/// Along the edge that leaves the row, past every kink as long as L rises. false: it rises for ever.
bool linear_relaxation::ascend(price_basis& basis, leaving left) {
  const std::size_t n = basis.rows.size();
  for (std::size_t t = 0; t < n; ++t) edge_[t] = left.sign * inverse_[t * n + left.row];
  for (std::size_t k = 0; k < n; ++k)
    if (k != left.row && basis.rows[k].is == price_row::kind::floor) edge_[static_cast<std::size_t>(basis.rows[k].type)] = 0;
  double rising = 0;
  for (std::size_t t = 0; t < n; ++t) rising += over_[t] * edge_[t];
  if (auto& row = basis.rows[left.row]; row.is == price_row::kind::tie) --ties_[row.item];

  double end = infinity;
  int floor = -1;
  for (std::size_t t = 0; t < n; ++t)
    if (edge_[t] < -1e-14 && basis.price[t] / -edge_[t] < end) {
      end = basis.price[t] / -edge_[t];
      floor = static_cast<int>(t);
    }
  kinks_.clear();
  for (std::size_t i = 0; i < p_.items(); ++i) {
    if (fixed_[i] != unfixed) continue;
    for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o) {
      reduced_[o] = values_[o] + dot_uses(o, basis.price);
      slope_[o] = dot_uses(o, edge_);
    }
    // What is tied stays tied, whatever rounding makes of it.
    for (std::size_t k = 0; ties_[i] > 0 && k < n; ++k)
      if (const auto& tie = basis.rows[k]; k != left.row && tie.is == price_row::kind::tie && tie.item == i) {
        reduced_[tie.to] = reduced_[tie.from];
        slope_[tie.to] = slope_[tie.from];
      }
    if (const auto k = next_kink(i, 0); k.at < end) kinks_.push_back(k);
  }
  work_ += static_cast<std::int64_t>(p_.value.size());
  const auto later = [](const kink& a, const kink& b) { return a.at > b.at || (a.at == b.at && a.item > b.item); };
  std::make_heap(kinks_.begin(), kinks_.end(), later);
  auto& row = basis.rows[left.row];
  double step = 0;
  for (;;) {
    if (kinks_.empty()) {
      if (floor < 0) return false;
      step = end;
      row = {price_row::kind::floor, floor, 0, 0, 0};
      break;
    }
    std::pop_heap(kinks_.begin(), kinks_.end(), later);
    const auto k = kinks_.back();
    kinks_.pop_back();
    const auto now = key_[k.item];
    const double change = slope_[k.to] - slope_[now];
    // An item that other rows tie cannot pass: they would not be ties any more.
    if (ties_[k.item] > 0 || rising + change <= 0) {
      step = k.at;
      row = {price_row::kind::tie, -1, k.item, now, k.to};
      ++ties_[k.item];
      break;
    }
    rising += change;
    add_uses(over_, now, -1);
    add_uses(over_, k.to, 1);
    key_[k.item] = k.to;
    if (const auto next = next_kink(k.item, k.at); next.at < end) {
      kinks_.push_back(next);
      std::push_heap(kinks_.begin(), kinks_.end(), later);
    }
  }
  for (std::size_t t = 0; t < n; ++t) basis.price[t] = std::max(0.0, basis.price[t] + step * edge_[t]);
  if (row.is == price_row::kind::floor) basis.price[static_cast<std::size_t>(row.type)] = 0;
  set_normal(basis, left.row);
  return true;
}

/// Where L rises for ever there is no solution; what proves it is the bound far out along the edge.
bool linear_relaxation::rises_to(double cutoff, const price_basis& basis) {
  double rising = 0;
  for (std::size_t t = 0; t < edge_.size(); ++t) rising += over_[t] * edge_[t];
  const double step = 2 * (cutoff - lagrangian_bound(p_, basis.price, fixed_)) / rising;
  auto far = basis.price;
  for (std::size_t t = 0; t < far.size(); ++t) far[t] = std::max(0.0, far[t] + step * edge_[t]);
  bound_ = lagrangian_bound(p_, far, fixed_);
  return bound_ >= cutoff;
}

/// The prices at which the ties hold for the true values, where those give the better bound.
void linear_relaxation::polish(price_basis& basis) {
  const std::size_t n = basis.rows.size();
  std::vector<double> right(n), price(n);
  for (std::size_t k = 0; k < n; ++k) {
    const auto& row = basis.rows[k];
    if (row.is == price_row::kind::tie) right[k] = p_.value[row.from] - p_.value[row.to];
    if (row.is != price_row::kind::loose) continue;
    for (std::size_t t = 0; t < n; ++t) right[k] += basis.normals[k * n + t] * basis.price[t];
  }
  for (std::size_t t = 0; t < n; ++t) {
    for (std::size_t k = 0; k < n; ++k) price[t] += inverse_[t * n + k] * right[k];
    price[t] = std::max(0.0, price[t]);
  }
  const double exact = lagrangian_bound(p_, price, fixed_);
  if (exact > bound_) {
    bound_ = exact;
    basis.price = std::move(price);
  }
}

/// After an optimum: what is split, and how.
void linear_relaxation::collect_splits(const price_basis& basis) {
  splits_.clear();
  for (std::size_t k = 0; k < basis.rows.size(); ++k) {
    const auto& row = basis.rows[k];
    if (row.is != price_row::kind::tie || weight_[k] <= 1e-7) continue;
    auto at = std::find_if(splits_.begin(), splits_.end(), [&](const split& s) { return s.item == row.item; });
    if (at == splits_.end()) at = splits_.insert(at, {row.item, {{row.from, 1.0}}});
    at->parts.front().second -= weight_[k];
    at->parts.emplace_back(row.to, weight_[k]);
  }
  for (auto& s : splits_) {
    if (s.parts.front().second <= 1e-7) s.parts.erase(s.parts.begin());
    std::sort(s.parts.begin(), s.parts.end(),
              [](const auto& a, const auto& b) { return a.second > b.second || (a.second == b.second && a.first < b.first); });
    key_[s.item] = s.parts.front().first;
  }
  std::erase_if(splits_, [](const split& s) { return s.parts.size() < 2; });
}

linear_relaxation::outcome linear_relaxation::solve(price_basis& basis, const std::vector<std::size_t>& fixed, double cutoff) {
  fixed_ = fixed;
  splits_.clear();
  choose_keys(basis);
  auto out = outcome::stopped;
  const std::size_t most = 200 + 30 * basis.rows.size();
  bool pinned = true;
  for (std::size_t k = 0; k < most; ++k) {
    pinned = invert(basis);
    if (!pinned) break;
    weigh(basis);
    if (change_key(basis)) continue;
    const auto row = steepest(basis);
    if (row.sign == 0) {
      out = outcome::optimal;
      break;
    }
    if (!ascend(basis, row)) {
      if (rises_to(cutoff, basis)) return outcome::beyond;
      break;
    }
    work_ += static_cast<std::int64_t>(basis.rows.size() * basis.rows.size());
    if (k % 4 == 3 && lagrangian_bound(p_, basis.price, fixed_) >= cutoff) break;
  }
  raw_bound_ = bound_ = lagrangian_bound(p_, basis.price, fixed_);
  for (std::size_t i = 0; i < p_.items(); ++i)
    for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o) reduced_[o] = values_[o] + dot_uses(o, basis.price);
  work_ += 2 * static_cast<std::int64_t>(p_.value.size());
  if (pinned && bound_ < cutoff) polish(basis);
  if (bound_ >= cutoff) return outcome::beyond;
  if (out == outcome::optimal) collect_splits(basis);
  return out;
}

}  // namespace inferno::model
