#include "model/system_json_write.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <cstdlib>

namespace inferno::model {
namespace {

namespace json = boost::json;

/// The shortest form that reads back the same, as people write numbers: 40, not 4E1. YAML 1.1 readers take an exponent for a
/// number only after a dot.
std::string number_text(double x) {
  if (!std::isfinite(x)) return "null";
  auto text = fmt::format("{}", x);
  const auto e = text.find('e');
  if (e != std::string::npos && text.find('.') == std::string::npos) text.insert(e, ".0");
  return text;
}

std::string scalar_text(const json::value& v) { return v.is_double() ? number_text(v.get_double()) : json::serialize(v); }

void put_json(std::string& out, const json::value& v) {
  const char* separator = "";
  if (v.is_object()) {
    out += '{';
    for (const auto& [name, inner] : v.get_object()) {
      out += separator;
      out += json::serialize(json::string(name)) + ":";
      put_json(out, inner);
      separator = ",";
    }
    out += '}';
  } else if (v.is_array()) {
    out += '[';
    for (const auto& inner : v.get_array()) {
      out += separator;
      put_json(out, inner);
      separator = ",";
    }
    out += ']';
  } else {
    out += scalar_text(v);
  }
}

/// JSON strings are YAML strings too.
void put_yaml(std::string& out, const json::value& v, std::size_t indent) {
  const std::string pad(indent, ' ');
  const auto nested = [&](const json::value& inner) {
    const bool empty = (inner.is_object() && inner.get_object().empty()) || (inner.is_array() && inner.get_array().empty());
    if (empty || !inner.is_structured()) {
      out += ' ' + scalar_text(inner) + '\n';
      return;
    }
    out += '\n';
    put_yaml(out, inner, indent + 2);
  };
  if (v.is_object()) {
    for (const auto& [name, inner] : v.get_object()) {
      out += pad + json::serialize(json::string(name)) + ":";
      nested(inner);
    }
  } else {
    for (const auto& inner : v.get_array()) {
      out += pad + "-";
      nested(inner);
    }
  }
}

}  // namespace

std::string write_json(const json::value& v) {
  std::string out;
  put_json(out, v);
  return out;
}

std::string write_yaml(const json::value& v) {
  std::string out;
  put_yaml(out, v, 0);
  return out;
}

double rounded_per_min(req_rate rate) { return std::strtod(fmt::format("{:.15g}", rate.per_min()).c_str(), nullptr); }

json::object percentiles_object(const ttft_percentiles& t) {
  return {{"p50", t.p50}, {"p90", t.p90}, {"p95", t.p95}, {"p99", t.p99}};
}

json::object allocation_object(const allocation& a) {
  return {{"accelerator", a.accelerator},
          {"numReplicas", a.num_replicas},
          {"maxBatch", a.max_batch},
          {"cost", a.cost.cents},
          {"itlAverage", a.itl_ms},
          {"waitAverage", a.wait_ms},
          {"waitP95", a.wait_ms * wait_p95_of_mean},
          {"ttftAverage", a.ttft_ms},
          {"ttftPercentiles", percentiles_object(a.ttft_at)},
          {"utilization", a.busy},
          {"maxRatePerReplica", a.max_rate_per_replica.per_min()}};
}

std::string shown_ms(double value) {
  return value > 0 && value < 1 ? fmt::format("{:.3g}", value) : fmt::format("{:.1f}", value);
}

std::string shown_objective_ms(double value) {
  const auto given = fmt::format("{:.9g}", value);
  return given.find_first_of(".e") == std::string::npos ? given + ".0" : given;
}

json::object solver_object(const solver_report& r, std::optional<double> seconds) {
  json::object out{{"name", r.name}, {"satisfied", r.satisfied}, {"satisfiable", r.satisfiable}, {"value", r.value}};
  out["lowerBound"] = r.lower_bound ? json::value(*r.lower_bound) : json::value(nullptr);
  out["gap"] = r.gap ? json::value(*r.gap) : json::value(nullptr);
  out["seconds"] = seconds ? json::value(*seconds) : json::value(nullptr);
  return out;
}

std::string aligned(const std::vector<row>& rows, std::size_t text_columns) {
  std::vector<std::size_t> width(rows.front().size());
  for (const auto& r : rows)
    for (std::size_t i = 0; i < r.size(); ++i) width[i] = std::max(width[i], r[i].size());
  std::string out;
  for (const auto& r : rows) {
    std::string line;
    for (std::size_t i = 0; i < r.size(); ++i)
      line += i < text_columns ? fmt::format("{:<{}}  ", r[i], width[i]) : fmt::format("{:>{}}  ", r[i], width[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

}  // namespace inferno::model
