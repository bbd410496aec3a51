#include "actors/variant_metrics.hpp"

#include <prometheus/text_serializer.h>

#include <sstream>

namespace inferno::actors {
namespace {

/// Value of a series that is left out.
constexpr double not_known = -1;
/// Whose series: an HPA that reads the metric must not act on a dry run.
enum class shown_for { all, acting, dry_run };
bool applies(shown_for whose, const decision& d) {
  const bool dry = d.curve->mode == actuation_mode::dry_run;
  return whose == shown_for::all || (whose == shown_for::dry_run) == dry;
}

struct variant_gauge {
  const char* name;
  const char* help;
  double (*value)(const decision&);
  shown_for whose = shown_for::all;
};

double desired(const decision& d) { return d.desired.num_replicas; }
double current(const decision& d) { return d.curve->current.num_replicas; }
/// What is predicted for an allocation that is only kept is not what the model stands for.
double predicted(const decision& d, double ms) { return d.hold ? 0 : ms / 1000; }

constexpr variant_gauge gauges[] = {
    {"inferno_desired_replicas", "Replicas the optimizer wants for a variant", desired, shown_for::acting},
    {"inferno_dry_run_desired_replicas", "Likewise, of variants in dry-run", desired, shown_for::dry_run},
    {"inferno_current_replicas", "Replicas the variant's target asks for now", current},
    {"inferno_ready_replicas", "Replicas of the variant's target that are ready; absent when its kind does not report them",
     [](const decision& d) { return d.curve->ready ? 1.0 * *d.curve->ready : not_known; }},
    {"inferno_desired_ratio", "Desired replicas over current replicas; desired replicas when there are none",
     [](const decision& d) { return current(d) > 0 ? desired(d) / current(d) : desired(d); }, shown_for::acting},
    {"inferno_predicted_itl_seconds", "Predicted inter-token latency of the desired allocation",
     [](const decision& d) { return predicted(d, d.desired.itl_ms); }},
    {"inferno_predicted_ttft_seconds", "Predicted time to first token of the desired allocation",
     [](const decision& d) { return predicted(d, d.desired.ttft_ms); }},
    {"inferno_measured_itl_seconds", "Measured inter-token latency, mean over the rate window",
     [](const decision& d) { return d.curve->measured_now().itl_ms / 1000; }},
    {"inferno_measured_ttft_seconds", "Measured time to first token, mean over the rate window",
     [](const decision& d) { return d.curve->measured_now().ttft_ms / 1000; }},
    {"inferno_slo_itl_seconds", "Inter-token latency of the service class; 0 when it names none",
     [](const decision& d) { return d.curve->slo.itl_ms / 1000; }},
    {"inferno_slo_ttft_seconds", "Time to first token of the service class; 0 when it names none",
     [](const decision& d) { return d.curve->slo.ttft_ms / 1000; }},
    {"inferno_objectives_met", "The condition ObjectivesMet: 1 = True, 0 = False; absent when it is Unknown",
     [](const decision& d) {
       const auto& o = d.curve->objectives;
       return o.type.empty() || o.unknown ? not_known : o.status ? 1.0 : 0.0;
     }},
    {"inferno_arrival_rate_per_second", "Measured arrival rate of requests",
     [](const decision& d) { return d.curve->measured_now().arrival_rate.per_sec(); }},
};

}  // namespace

std::string variant_metrics_text(const plan_snapshot& plan, const std::set<variant_key>& gone) {
  std::ostringstream out;
  const prometheus::TextSerializer serializer;
  for (const auto& g : gauges) {
    // One family at a time: the library's form of a series is ten times its text.
    prometheus::MetricFamily family{g.name, g.help, prometheus::MetricType::Gauge, {}};
    family.metric.reserve(plan.decisions.size());
    for (const auto& d : plan.decisions) {
      const auto& key = d->curve->key;
      if (gone.count(key) || !applies(g.whose, *d)) continue;
      const double value = g.value(*d);
      if (value == not_known) continue;
      prometheus::ClientMetric metric;
      metric.label = {{"accelerator_type", d->desired.accelerator}, {"namespace", key.ns}, {"variant_name", key.name}};
      metric.gauge.value = value;
      family.metric.push_back(std::move(metric));
    }
    if (!family.metric.empty()) serializer.Serialize(out, {family});
  }
  return out.str();
}

}  // namespace inferno::actors
