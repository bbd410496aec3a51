#pragma once
// Servers whose latency is predicted from the arrival rate alone.
#include <vector>

#include "model/queue.hpp"
#include "testbed/accuracy/measured.hpp"

namespace inferno::testbed {

/// One of the servers of llmd-bench: Llama-3.1-70B in 16 bits on two A100 of 80 GB, the batch bounded by its KV cache.
struct fitted_server {
  model::replica_config replica;
  std::vector<model::measurement> known, asked;
};

/// One series of the table, fitted to the first and the third rate, or to every other one of many.
tl::expected<fitted_server, std::string> fit_llmd(const measured_table& table, const std::vector<std::size_t>& rows);

/// The arrival rate at which the mean TTFT is twice that of `idle`; requests/s.
double knee_of(const model::replica_config& replica, model::req_rate idle);
/// The same of measurements sorted by rate, between two of them by the logarithm of the TTFT; nullopt: it does not double.
std::optional<double> measured_knee(const std::vector<model::measurement>& rows);

}  // namespace inferno::testbed
