// The cheapest hardware by the model against the cheapest by measurement.
#include <fmt/format.h>

#include <map>

#include "model/queue.hpp"
#include "testbed/accuracy/errors.hpp"
#include "testbed/accuracy/measured.hpp"

namespace inferno::testbed {
namespace {

using model::measurement;

struct hardware {
  std::string name;
  double price = 0;
  std::vector<measurement> known, asked;  ///< by users, ascending
};

/// Lines in which more than this share of the requests failed are no measurement of a server that works.
constexpr double most_errors = 0.01;

/// The highest rate at which both targets hold, between the measured numbers of users by their logarithm; 0 = never.
double measured_rate(const std::vector<measurement>& rows, const model::slo_targets& slo) {
  double best = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto holds = [&](double itl, double ttft) { return itl <= slo.itl_ms && ttft <= slo.ttft_ms; };
    const auto& b = rows[i];
    if (holds(*b.itl_ms, *b.ttft_ms)) {
      best = std::max(best, *b.rate_per_s);
      continue;
    }
    if (i == 0 || !holds(*rows[i - 1].itl_ms, *rows[i - 1].ttft_ms)) continue;
    const auto& a = rows[i - 1];
    const auto share = [](double from, double to, double target) { return to > from ? (target - from) / (to - from) : 1; };
    const double at =
        std::clamp(std::min(share(*a.itl_ms, *b.itl_ms, slo.itl_ms), share(*a.ttft_ms, *b.ttft_ms, slo.ttft_ms)), 0.0, 1.0);
    best = std::max(best, *a.rate_per_s + at * (*b.rate_per_s - *a.rate_per_s));
  }
  return best;
}

/// What the model makes of the known lines: its rate within the targets; 0 = never, or nothing known.
double predicted_rate(const hardware& h, const model::slo_targets& slo) {
  const auto fit = model::fit_profile(h.known, model::profile_kind::linear);
  if (!fit) return 0;
  const auto& most = h.known.back();
  const int batch = static_cast<int>(*most.concurrency);
  const auto sized = size_replica({fit->profile, {most.in_tokens, most.out_tokens}, batch, 10L * batch}, slo);
  return sized ? sized->rate.per_sec() : 0;
}

}  // namespace

study_result choice_of_hardware(const std::string& folder) {
  const auto t = read_measured(folder + "/llm-pilot.csv");
  if (!t) return tl::unexpected(t.error());
  study out{"llm-pilot",
            "Four models on T4, V100, A10, A100 and H100, one to four of them, closed loop of 1 to 128 users (TGIS), with list "
            "prices. Linear "
            "profiles fitted to 1, 4, 16 and 64 users; the lines of 2, 8, 32 and 128 users are the truth. For each model, target "
            "(ITL 30 to "
            "160 ms, TTFT 100 to 1600 ms) and demand (5, 20, 100 requests/s): the cheapest type and count by the model, against "
            "the cheapest "
            "as measured. The regret is what the model's choice costs more, with as many replicas as it needs in truth.",
            {},
            {}};
  error_sum regret, rate;
  std::size_t short_of = 0;
  std::string lines;
  for (const auto& [name, which] : t->by("model")) {
    std::map<std::string, hardware> types;
    for (const auto i : which) {
      const auto& r = t->rows[i];
      const double failed = t->extra(i, "errors");
      auto& h = types[std::string(t->table.text(i, "gpu"))];
      h.name = t->table.text(i, "gpu");
      h.price = t->extra(i, "price");
      if (failed > most_errors * (failed + t->extra(i, "completed"))) continue;
      const int users = static_cast<int>(*r.concurrency);
      (users == 1 || users == 4 || users == 16 || users == 64 ? h.known : h.asked).push_back(r);
    }
    error_sum of_model;
    for (const double itl : {30, 50, 80, 160})
      for (const double ttft : {100, 200, 400, 800, 1600}) {
        const model::slo_targets slo{itl, ttft};
        std::map<std::string, std::pair<double, double>> rates;  // measured, predicted
        for (const auto& [gpu, h] : types) {
          rates[gpu] = {measured_rate(h.asked, slo), predicted_rate(h, slo)};
          if (rates[gpu].first > 0 && rates[gpu].second > 0) rate.add(rates[gpu].second, rates[gpu].first);
        }
        for (const double demand : {5, 20, 100}) {
          const auto cost = [&](const hardware& h, double per_replica) {
            return per_replica > 0 ? h.price * std::ceil(demand / per_replica) : INFINITY;
          };
          const hardware* cheapest = nullptr;
          const hardware* chosen = nullptr;
          for (const auto& [gpu, h] : types) {
            if (!cheapest || cost(h, rates[gpu].first) < cost(*cheapest, rates[cheapest->name].first)) cheapest = &h;
            if (!chosen || cost(h, rates[gpu].second) < cost(*chosen, rates[chosen->name].second)) chosen = &h;
          }
          const double least = cost(*cheapest, rates[cheapest->name].first);
          if (std::isinf(least)) continue;
          // A choice that no count of makes good is not counted as cheap: it costs as much as one that was never found, all types
          // measured dearer.
          double paid = cost(*chosen, rates[chosen->name].first);
          if (std::isinf(paid))
            for (const auto& [gpu, h] : types)
              if (const double c = cost(h, rates[gpu].first); std::isinf(paid) || (!std::isinf(c) && c > paid)) paid = c;
          if (std::ceil(demand / rates[chosen->name].first) > std::ceil(demand / rates[chosen->name].second)) ++short_of;
          regret.add(paid, least);
          of_model.add(paid, least);
        }
      }
    const auto f = of_model.as("");
    lines += fmt::format("| {} | {} | {} | {:.1f} | {:.0f} |\n", name, types.size(), f.points, 100 * f.mean, 100 * f.worst);
  }
  out.figures = {regret.as("cost above the cheapest (regret)", 0.10), rate.as("rate of a replica within its targets")};
  out.details = "| model | types | choices | regret % | worst % |\n|---|---:|---:|---:|---:|\n" + lines;
  out.details += fmt::format("\nOf the {} choices {} count fewer replicas than the measurement asks for.\n",
                             out.figures[0].points, short_of);
  return out;
}

}  // namespace inferno::testbed
