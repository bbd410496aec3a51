#include "testbed/accuracy/servers.hpp"

#include <fmt/format.h>

#include "testbed/accuracy/errors.hpp"
#include "testbed/sweep/simulation.hpp"

namespace inferno::testbed {
namespace {

using model::measurement;
using model::req_rate;

/// vLLM's --max-num-seqs, when it is not set.
constexpr int default_batch = 256;
constexpr double gib = 1 << 30;

/// What a cache of keys and values leaves of that batch. A server that would hold more than it may is bounded by the latter.
int batch_within(const model::kv_memory& kv, const model::request_shape& shape) {
  const auto fits = kv_batch_limit(kv, shape);
  return fits ? std::min(*fits, default_batch) : default_batch;
}

model::replica_config replica_of(const model::performance_profile& profile, const model::request_shape& shape, int batch) {
  return {profile, shape, batch, 10L * batch};
}

/// Means over bursts of `requests` at a rate, from the emulator's core.
struct burst {
  double itl_ms = 0, ttft_ms = 0, served_per_sec = 0;
};

burst simulate_bursts(const model::replica_config& replica, double offered_per_sec, int requests, double length_cv) {
  simulation s{replica, length_distribution::exponential, req_rate::per_sec(offered_per_sec), requests};
  s.warm_up = 0;
  s.length_cv = length_cv;
  constexpr int runs = 20;
  burst out;
  for (s.seed = 1; s.seed <= runs; ++s.seed) {
    const auto m = simulate(s);
    out.itl_ms += m.itl_ms / runs;
    out.ttft_ms += m.ttft_ms / runs;
    out.served_per_sec += 1000 * requests / m.over_ms / runs;
  }
  return out;
}

/// One series of iog-vllm, fitted to two of its rates.
struct burst_server {
  std::string name;
  std::vector<std::size_t> rows;  ///< of the others
  model::replica_config replica;
  measurement loaded;  ///< the higher of the two
  int requests = 0;
};

constexpr double low_rate = 1, high_rate = 8;

tl::expected<burst_server, std::string> fit_iog(const measured_table& t, const std::string& name,
                                                const std::vector<std::size_t>& rows) {
  burst_server out{name, {}, {}, {}};
  std::vector<measurement> known;
  for (const auto i : rows) {
    const double offered = t.extra(i, "offered_rate");
    if (offered != low_rate && offered != high_rate) {
      out.rows.push_back(i);
      continue;
    }
    known.push_back(t.rows[i]);
    if (offered == high_rate) out.loaded = t.rows[i];
    out.requests = static_cast<int>(t.extra(i, "requests"));
  }
  const auto fit = model::fit_profile(known, model::profile_kind::linear);
  if (!fit) return tl::unexpected(name + ": " + fit.error());
  // 0.9 of 24 GiB hold 15 GiB of weights of 8B (32 layers, 8 KV heads of 128) or 14.2 of 7B (28 layers, 4 KV heads of 128), and
  // some 1.3 GiB beside them. 80 GB are no bound.
  model::kv_memory kv;
  if (name.find("4090") != std::string::npos)
    kv = name.find("7B") != std::string::npos ? model::kv_memory{6.1 * gib, 2.0 * 28 * 4 * 128 * 2}
                                              : model::kv_memory{5.3 * gib, 2.0 * 32 * 8 * 128 * 2};
  const model::request_shape shape{known.front().in_tokens, known.front().out_tokens};
  out.replica = replica_of(fit->profile, shape, batch_within(kv, shape));
  return out;
}

/// How unequal the answers are shows in how long a run goes on after its last arrival: the variation whose runs at the higher
/// known rate come nearest. One for all servers: they were sent the same requests.
double length_cv_of(const std::vector<burst_server>& servers) {
  double best = 0, least = INFINITY;
  for (int tenths = 4; tenths <= 12; ++tenths) {
    error_sum off;
    for (const auto& s : servers)
      off.add(simulate_bursts(s.replica, high_rate, s.requests, 0.1 * tenths).served_per_sec, *s.loaded.rate_per_s);
    if (const double mean = off.as("").mean; mean < least) {
      best = 0.1 * tenths;
      least = mean;
    }
  }
  return best;
}

std::string percent_off(double predicted, double measured) { return fmt::format("{:+.1f}", 100 * (predicted / measured - 1)); }

}  // namespace

double knee_of(const model::replica_config& replica, req_rate idle) {
  const double twice = 2 * analyze(replica, idle).ttft_ms;
  double low = idle.per_sec();
  double high = size_replica(replica, {})->max_rate.per_sec();
  for (int i = 0; i < 60; ++i) {
    const double mid = (low + high) / 2;
    (analyze(replica, req_rate::per_sec(mid)).ttft_ms < twice ? low : high) = mid;
  }
  return low;
}

std::optional<double> measured_knee(const std::vector<measurement>& rows) {
  const double twice = 2 * *rows.front().ttft_ms;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const double before = *rows[i - 1].ttft_ms, after = *rows[i].ttft_ms;
    if (after < twice) continue;
    return *rows[i - 1].rate_per_s +
           std::log(twice / before) / std::log(after / before) * (*rows[i].rate_per_s - *rows[i - 1].rate_per_s);
  }
  return std::nullopt;
}

tl::expected<fitted_server, std::string> fit_llmd(const measured_table& table, const std::vector<std::size_t>& rows) {
  // 140 GB of weights in 0.95 of two times 79 GiB leave about 12 GiB: the benchmark's batches of up to 20,000 tokens need
  // some 3.5 GiB a GPU themselves. 80 layers, 8 KV heads of 128.
  const model::kv_memory kv{12 * gib, 2.0 * 80 * 8 * 128 * 2};
  fitted_server out;
  const std::size_t below_knee = rows.size() > 6 ? rows.size() : 3;
  for (std::size_t i = 0; i < rows.size(); ++i)
    (i < below_knee && i % 2 == 0 ? out.known : out.asked).push_back(table.rows[rows[i]]);
  const auto fit = model::fit_profile(out.known, model::profile_kind::linear);
  if (!fit) return tl::unexpected(fit.error());
  const model::request_shape shape{out.known.back().in_tokens, out.known.back().out_tokens};
  out.replica = replica_of(fit->profile, shape, batch_within(kv, shape));
  return out;
}

study_result rates_up_to_the_knee(const std::string& folder) {
  const auto t = read_measured(folder + "/llmd-bench.csv");
  if (!t) return tl::unexpected(t.error());
  study out{"llmd-bench",
            "Llama-3.1-70B on two A100 (vLLM), conversations at evenly spaced arrivals, with and without a cache of prefixes; "
            "and short "
            "requests to two such servers. Linear profile fitted to the first and the third rate (of the short requests: to "
            "every other "
            "one); N from the KV memory. Then ITL and TTFT from the arrival rate alone.",
            {},
            {}};
  error_sum itl, itl_loaded, ttft, knee;
  std::string lines, knees;
  for (const auto& [name, which] : t->by("series")) {
    const auto server = fit_llmd(*t, which);
    if (!server) return tl::unexpected(name + ": " + server.error());
    auto replica = server->replica;
    const double capacity = size_replica(replica, {})->max_rate.per_sec();
    for (const auto& r : server->asked) {
      replica.shape = {r.in_tokens, r.out_tokens};
      const double load = *r.rate_per_s / capacity;
      const auto m = analyze(replica, req_rate::per_sec(*r.rate_per_s));
      (load < 0.8 ? itl : itl_loaded).add(m.itl_ms, *r.itl_ms);
      if (load < 0.8) ttft.add(m.ttft_ms, *r.ttft_ms);
      if (which.size() <= 6)
        lines += fmt::format("| {} | {:.2f} | {:.2f} | {:.1f} | {:.1f} | {} | {:.0f} | {:.0f} | {} |\n", name, *r.rate_per_s,
                             load, *r.itl_ms, m.itl_ms, percent_off(m.itl_ms, *r.itl_ms), *r.ttft_ms, m.ttft_ms,
                             percent_off(m.ttft_ms, *r.ttft_ms));
    }
    std::vector<measurement> all;
    for (const auto i : which) all.push_back(t->rows[i]);
    if (const auto measured = measured_knee(all)) {
      const double predicted = knee_of(server->replica, req_rate::per_sec(*all.front().rate_per_s));
      knee.add(predicted, *measured);
      knees += fmt::format("| {} | {} | {:.2f} | {:.2f} | {} |\n", name, server->replica.max_batch, *measured, predicted,
                           percent_off(predicted, *measured));
    }
  }
  out.figures = {itl.as("ITL below 80 % load", 0.05), itl_loaded.as("ITL above"), ttft.as("TTFT below 80 % load"),
                 knee.as("rate at which the TTFT has doubled (the knee)", 0.15)};
  out.details = "| series | rate /s | load | ITL ms | predicted | % | TTFT ms | predicted | % |\n";
  out.details += "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n" + lines;
  out.details += "\n| series | N by KV memory | knee /s | predicted | % |\n|---|---:|---:|---:|---:|\n" + knees;
  return out;
}

study_result bursts_of_requests(const std::string& folder) {
  const auto t = read_measured(folder + "/iog-vllm.csv");
  if (!t) return tl::unexpected(t.error());
  study out{"iog-vllm",
            "7B to 9B models on one H100 or RTX 4090 (vLLM): 200 requests, Poisson. Linear profile fitted to 1 and 8 requests/s. "
            "Where the "
            "server keeps up (it serves over 60 % of the rate offered, the rest is the end of the run) ITL and TTFT are "
            "predicted from the "
            "arrival rate; the others are bursts of seconds, predicted by the emulator's core with the same profile (20 bursts; "
            "lengths "
            "gamma distributed, as unequal as the time that the runs of 8 requests/s go on after their last arrival tells).",
            {},
            {}};
  error_sum itl, ttft, burst_itl, burst_ttft, served;
  std::string lines;
  std::vector<burst_server> servers;
  for (const auto& [name, which] : t->by("series")) {
    // Several 4090: the first tokens of the lower rates take seconds, more than those of higher rates. Nothing is settled there.
    if (name.find(" 1x") == std::string::npos) continue;
    auto server = fit_iog(*t, name, which);
    if (!server) return tl::unexpected(server.error());
    servers.push_back(std::move(*server));
  }
  const double cv = length_cv_of(servers);
  for (const auto& s : servers) {
    double most_measured = 0, most_predicted = 0;
    for (const auto i : s.rows) {
      const auto& r = t->rows[i];
      const double offered = t->extra(i, "offered_rate");
      if (*r.rate_per_s > 0.6 * offered) {
        const auto m = analyze(s.replica, req_rate::per_sec(*r.rate_per_s));
        itl.add(m.itl_ms, *r.itl_ms);
        ttft.add(m.ttft_ms, *r.ttft_ms);
        continue;
      }
      const auto m = simulate_bursts(s.replica, offered, s.requests, cv);
      burst_itl.add(m.itl_ms, *r.itl_ms);
      burst_ttft.add(m.ttft_ms, *r.ttft_ms);
      most_measured = std::max(most_measured, *r.rate_per_s);
      most_predicted = std::max(most_predicted, m.served_per_sec);
      lines += fmt::format("| {} | {:.0f} | {:.2f} | {:.2f} | {:.1f} | {:.1f} | {:.0f} | {:.0f} |\n", s.name, offered,
                           *r.rate_per_s, m.served_per_sec, *r.itl_ms, m.itl_ms, *r.ttft_ms, m.ttft_ms);
    }
    served.add(most_predicted, most_measured);
  }
  out.figures = {itl.as("ITL where the server keeps up", 0.05), ttft.as("TTFT where the server keeps up"),
                 served.as("most requests served per second (the knee)", 0.15), burst_itl.as("ITL of a burst"),
                 burst_ttft.as("TTFT of a burst")};
  out.details = fmt::format("The lengths' coefficient of variation comes out as {:.1f}.\n\n", cv);
  out.details += "| burst | offered /s | served /s | predicted | ITL ms | predicted | TTFT ms | predicted |\n";
  out.details += "|---|---:|---:|---:|---:|---:|---:|---:|\n" + lines;
  return out;
}

}  // namespace inferno::testbed
