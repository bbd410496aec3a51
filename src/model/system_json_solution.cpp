// The solution as JSON, YAML and table.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "model/system_json.hpp"
#include "model/system_json_write.hpp"

namespace inferno::model {
namespace {

namespace json = boost::json;

json::object solution_object(const system_solution& s) {
  json::object allocations;
  for (const auto& [name, a] : s.allocations) {
    const auto& l = s.loads.at(name);
    json::object load{
        {"arrivalRate", rounded_per_min(l.arrival_rate)}, {"avgInTokens", l.avg_in_tokens}, {"avgOutTokens", l.avg_out_tokens}};
    if (l.out_cv >= 0) load["cvOutTokens"] = l.out_cv;
    auto object = allocation_object(a);
    if (const auto more = s.also.find(name); more != s.also.end()) {
      json::array parts;
      for (const auto& part : more->second) parts.push_back(allocation_object(part));
      object["also"] = std::move(parts);
    }
    object["load"] = std::move(load);
    allocations[name] = std::move(object);
  }
  json::array types;
  for (const auto& t : s.by_type) {
    json::object usage{{"type", t.type}, {"count", t.count}, {"limit", nullptr}, {"cost", t.cost.cents}};
    if (t.limit >= 0) usage["limit"] = t.limit;
    types.push_back(std::move(usage));
  }
  json::object out{{"allocations", std::move(allocations)}, {"byType", std::move(types)}, {"totalCost", s.total_cost.cents}};
  const auto reasons = [](const std::map<std::string, std::string>& of) {
    json::object list;
    for (const auto& [name, why] : of) list[name] = why;
    return list;
  };
  out["infeasible"] = reasons(s.infeasible);
  if (!s.unallocated.empty()) out["unallocated"] = reasons(s.unallocated);
  if (!s.degraded.empty()) out["degraded"] = reasons(s.degraded);
  out["solver"] = solver_object(s.solver, s.seconds);
  return out;
}

/// How good the plan is. `gap` is known.
std::string solver_line(const system_solution& s) {
  const auto& r = s.solver;
  // A pool is one variant to the solver.
  auto out = s.pools ? fmt::format("\nsolver {}: {} variants and pools satisfied", r.name, r.satisfied)
                     : fmt::format("\nsolver {}: {} of {} variants satisfied", r.name, r.satisfied,
                                   s.allocations.size() + s.unallocated.size());
  if (r.satisfied != r.satisfiable) out += fmt::format(" (more than {} cannot be)", r.satisfiable);
  out += fmt::format("; value {:.2f} cents/h, ", r.value);
  return out + (*r.gap > 0 ? fmt::format("at most {:.3f} % of the cost above the least possible\n", 100 * *r.gap)
                           : "proven to be the least possible\n");
}

}  // namespace

std::string solution_json(const system_solution& s) { return write_json(solution_object(s)); }

std::string solution_yaml(const system_solution& s) { return write_yaml(solution_object(s)); }

std::string solution_table(const system_solution& s) {
  std::string out;
  std::vector<row> rows{{"VARIANT", "ACCELERATOR", "REPLICAS", "BATCH", "COST", "RATE/MIN", "ITL ms", "WAIT ms", "WAIT P95",
                         "TTFT ms", "TTFT P95", "UTIL", "MAX RATE/MIN"}};
  const auto add = [&](const std::string& name, const std::string& rate, const allocation& a) {
    rows.push_back({name, a.accelerator.empty() ? "-" : a.accelerator, std::to_string(a.num_replicas),
                    std::to_string(a.max_batch), fmt::format("{:.2f}", a.cost.cents), rate, fmt::format("{:.4f}", a.itl_ms),
                    fmt::format("{:.3f}", a.wait_ms), fmt::format("{:.1f}", a.wait_ms * wait_p95_of_mean),
                    fmt::format("{:.3f}", a.ttft_ms), fmt::format("{:.1f}", a.ttft_at.p95), fmt::format("{:.5f}", a.busy),
                    fmt::format("{:.2f}", a.max_rate_per_replica.per_min())});
  };
  for (const auto& [name, a] : s.allocations) {
    add(name, fmt::format("{:.2f}", s.loads.at(name).arrival_rate.per_min()), a);
    if (const auto more = s.also.find(name); more != s.also.end())
      for (const auto& part : more->second) add("", "", part);
  }
  if (rows.size() > 1) {
    out += aligned(rows, 2);
    out +=
        "slo-itl limits ITL, slo-ttft limits TTFT or a percentile of it, and slo-ttw limits WAIT P95, which is 2.996 times the "
        "mean\n"
        "wait, as if the wait were exponentially distributed. RATE/MIN arrives at the variant; MAX RATE/MIN is what one replica\n"
        "takes within the objectives. UTIL is the share of the time in which a replica has a request.";
    if (s.pools) out += " Variants of a pool together serve the sum of their RATE/MIN, whichever of them it arrives at.";
    out += "\n\n";
  }
  std::vector<row> types{{"TYPE", "COUNT", "LIMIT", "COST"}};
  for (const auto& t : s.by_type)
    types.push_back(
        {t.type, std::to_string(t.count), t.limit < 0 ? "-" : std::to_string(t.limit), fmt::format("{:.2f}", t.cost.cents)});
  std::int64_t cards = 0;
  for (const auto& t : s.by_type) cards += t.count;
  types.push_back({"TOTAL", std::to_string(cards), "", fmt::format("{:.2f}", s.total_cost.cents)});
  out += aligned(types, 1);
  if (s.solver.gap && s.solver.name != "unlimited" && !s.allocations.empty()) out += solver_line(s);
  const std::pair<const char*, const std::map<std::string, std::string>&> remarks[] = {
      {"infeasible", s.infeasible}, {"unallocated", s.unallocated}, {"degraded", s.degraded}};
  for (const auto& [kind, of] : remarks) {
    if (!of.empty()) out += "\n";
    for (const auto& [name, why] : of) out += fmt::format("{}: {}: {}\n", kind, name, why);
  }
  return out;
}

}  // namespace inferno::model
