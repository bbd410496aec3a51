#pragma once
// The gauges of variants, made from the plan when somebody asks: ten thousand variants keep no series of their own.
#include <set>

#include "actors/messages.hpp"

namespace inferno::actors {

/// Prometheus text format of every variant of the plan but those of `gone`.
std::string variant_metrics_text(const plan_snapshot& plan, const std::set<variant_key>& gone);

}  // namespace inferno::actors
