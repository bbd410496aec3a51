#include "model/fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>

namespace inferno::model {
namespace {

/// One equation: coefficients . parameters = measured.
struct equation {
  std::vector<double> coefficients;
  double measured;
};

struct solution {
  std::vector<double> values;
  std::vector<std::optional<double>> half_widths;
};

/// Cholesky factor of the normal equations of unit columns; index of the first parameter that the ones before it explain.
struct factor {
  std::vector<double> l;
  std::vector<double> scale;
  std::optional<std::size_t> dependent;
};

factor factorize(const std::vector<equation>& equations, const std::vector<std::size_t>& active) {
  const std::size_t n = active.size();
  factor f{std::vector<double>(n * n), std::vector<double>(n), std::nullopt};
  for (std::size_t i = 0; i < n; ++i) {
    double sum = 0;
    for (const auto& e : equations) sum += std::pow(e.coefficients[active[i]] / e.measured, 2);
    f.scale[i] = std::sqrt(sum);
    if (f.scale[i] <= 0) {
      f.dependent = i;
      return f;
    }
  }
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (const auto& e : equations) sum += e.coefficients[active[i]] * e.coefficients[active[j]] / (e.measured * e.measured);
      sum /= f.scale[i] * f.scale[j];
      for (std::size_t k = 0; k < j; ++k) sum -= f.l[i * n + k] * f.l[j * n + k];
      if (i != j) {
        f.l[i * n + j] = sum / f.l[j * n + j];
      } else if (sum < 1e-7) {
        f.dependent = i;
        return f;
      } else {
        f.l[i * n + i] = std::sqrt(sum);
      }
    }
  return f;
}

std::vector<double> solve_factored(const factor& f, std::vector<double> b) {
  const std::size_t n = b.size();
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < i; ++k) b[i] -= f.l[i * n + k] * b[k];
    b[i] /= f.l[i * n + i];
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) b[i] -= f.l[k * n + i] * b[k];
    b[i] /= f.l[i * n + i];
  }
  return b;
}

std::string join(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& n : names) out += (out.empty() ? "" : ", ") + n;
  return out;
}

/// Weighted least squares with parameters >= 0: what comes out negative is held at 0, the most negative first.
tl::expected<solution, std::string> solve(const std::vector<equation>& equations, const std::vector<std::string>& names,
                                          const std::string& vary) {
  const std::size_t n = names.size();
  if (equations.size() < n)
    return tl::unexpected(fmt::format("{}: {} rows cannot tell {} parameters", join(names), equations.size(), n));
  std::vector<std::size_t> active(n);
  std::iota(active.begin(), active.end(), 0);
  solution out{std::vector<double>(n), std::vector<std::optional<double>>(n)};
  while (!active.empty()) {
    const auto f = factorize(equations, active);
    if (f.dependent)
      return tl::unexpected(fmt::format("{} cannot be told apart from the other parameters: the rows do not vary enough in {}",
                                        names[active[*f.dependent]], vary));
    std::vector<double> b(active.size());
    for (std::size_t i = 0; i < active.size(); ++i) {
      for (const auto& e : equations) b[i] += e.coefficients[active[i]] / e.measured;
      b[i] /= f.scale[i];
    }
    auto x = solve_factored(f, b);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] /= f.scale[i];
    const auto least = std::min_element(x.begin(), x.end()) - x.begin();
    if (x[static_cast<std::size_t>(least)] < 0) {
      active.erase(active.begin() + least);
      continue;
    }
    double squares = 0;
    for (const auto& e : equations) {
      double predicted = 0;
      for (std::size_t i = 0; i < active.size(); ++i) predicted += e.coefficients[active[i]] * x[i];
      squares += std::pow(predicted / e.measured - 1, 2);
    }
    const double freedom = static_cast<double>(equations.size() - active.size());
    const double t = freedom > 0 ? quantile(boost::math::students_t(freedom), 0.975) : 0;
    for (std::size_t i = 0; i < active.size(); ++i) {
      std::vector<double> unit(active.size());
      unit[i] = 1;
      out.values[active[i]] = x[i];
      if (freedom > 0) out.half_widths[active[i]] = t * std::sqrt(solve_factored(f, unit)[i] * squares / freedom) / f.scale[i];
    }
    return out;
  }
  return out;
}

fit_error error_of(const std::vector<measurement>& rows, const performance_profile& profile,
                   std::optional<double> measurement::*measured, double batch_times::*predicted) {
  fit_error e;
  for (const auto& r : rows) {
    if (!(r.*measured)) continue;
    const auto t = times_at(profile, {r.in_tokens, r.out_tokens}, *concurrency_of(r));
    const double off = std::abs(t.*predicted / *(r.*measured) - 1);
    e.mean += off;
    e.worst = std::max(e.worst, off);
    ++e.rows;
  }
  if (e.rows > 0) e.mean /= static_cast<double>(e.rows);
  return e;
}

void add(profile_fit& out, const std::vector<std::string>& names, const solution& s) {
  for (std::size_t i = 0; i < names.size(); ++i) out.parameters.push_back({names[i], s.values[i], s.half_widths[i]});
}

tl::expected<profile_fit, std::string> fit_linear(const std::vector<measurement>& rows) {
  std::vector<equation> decode, prefill;
  for (const auto& r : rows) {
    const double n = *concurrency_of(r);
    if (r.itl_ms) decode.push_back({{1, n}, *r.itl_ms});
    if (r.ttft_ms && r.in_tokens > 0) prefill.push_back({{1, r.in_tokens * n}, *r.ttft_ms});
  }
  const std::vector<std::string> steps{"alpha", "beta"}, prompts{"gamma", "delta"};
  const auto d = solve(decode, steps, "concurrency");
  if (!d) return tl::unexpected(d.error());
  profile_fit out;
  linear_profile p{d->values[0], d->values[1], 0, 0, false};
  add(out, steps, *d);
  if (!prefill.empty()) {
    const auto f = solve(prefill, prompts, "prompt tokens times concurrency");
    if (!f) return tl::unexpected(f.error());
    p.gamma_ms = f->values[0];
    p.delta_ms = f->values[1];
    p.has_prefill = true;
    add(out, prompts, *f);
  }
  out.profile = p;
  return out;
}

/// times_at() of the iteration profile is linear in its parameters once the chunks are known.
tl::expected<profile_fit, std::string> fit_iteration(const std::vector<measurement>& rows, int max_batched_tokens) {
  std::vector<equation> equations;
  for (const auto& r : rows) {
    const double n = *concurrency_of(r);
    const request_shape shape{r.in_tokens, r.out_tokens};
    std::vector<double> itl, ttft;
    for (const auto& unit : {iteration_profile{1, 0, 0, max_batched_tokens}, iteration_profile{0, 1, 0, max_batched_tokens},
                             iteration_profile{0, 0, 1, max_batched_tokens}}) {
      const auto t = times_at(unit, shape, n);
      itl.push_back(t.itl_ms);
      ttft.push_back(t.first_token_ms);
    }
    if (r.itl_ms) equations.push_back({std::move(itl), *r.itl_ms});
    if (r.ttft_ms) equations.push_back({std::move(ttft), *r.ttft_ms});
  }
  const std::vector<std::string> names{"alpha", "beta", "gamma"};
  const auto s = solve(equations, names, "concurrency and lengths");
  if (!s) return tl::unexpected(s.error());
  profile_fit out;
  out.profile = iteration_profile{s->values[0], s->values[1], s->values[2], max_batched_tokens};
  add(out, names, *s);
  return out;
}

}  // namespace

std::optional<std::string> flaw_of(const measurement& r) {
  const std::pair<const char*, std::optional<double>> numbers[] = {
      {"concurrency", r.concurrency}, {"rate", r.rate_per_s}, {"ttft_ms", r.ttft_ms}, {"itl_ms", r.itl_ms}};
  for (const auto& [name, value] : numbers)
    if (value && !(std::isfinite(*value) && *value > 0)) return fmt::format("{}: expected a number > 0, got {}", name, *value);
  if (!std::isfinite(r.in_tokens) || r.in_tokens < 0)
    return fmt::format("in_tokens: expected a number >= 0, got {}", r.in_tokens);
  if (!std::isfinite(r.out_tokens) || r.out_tokens < 1)
    return fmt::format("out_tokens: expected a number >= 1, got {}", r.out_tokens);
  if (!concurrency_of(r)) return std::string("neither a concurrency nor a rate with both latencies");
  return std::nullopt;
}

std::optional<double> concurrency_of(const measurement& r) {
  if (r.concurrency) return r.concurrency;
  if (!r.rate_per_s || !r.ttft_ms || !r.itl_ms) return std::nullopt;
  return *r.rate_per_s * (*r.ttft_ms + *r.itl_ms * (r.out_tokens - 1)) / 1000;
}

tl::expected<profile_fit, std::string> fit_profile(const std::vector<measurement>& rows, profile_kind kind,
                                                   int max_batched_tokens) {
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (const auto what = flaw_of(rows[i])) return tl::unexpected(fmt::format("row {}: {}", i + 1, *what));
  auto out = kind == profile_kind::linear ? fit_linear(rows) : fit_iteration(rows, max_batched_tokens);
  if (!out) return out;
  if (const auto problem = validate(out->profile)) return tl::unexpected("the fit gives no profile: " + *problem);
  out->itl = error_of(rows, out->profile, &measurement::itl_ms, &batch_times::itl_ms);
  out->ttft = error_of(rows, out->profile, &measurement::ttft_ms, &batch_times::first_token_ms);
  return out;
}

}  // namespace inferno::model
