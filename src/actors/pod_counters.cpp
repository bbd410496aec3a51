#include "actors/pod_counters.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

namespace inferno::actors {
namespace {

using field = counter_field;

constexpr std::array<std::string_view, static_cast<std::size_t>(field::fields)> names{
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:request_success_total",
    "vllm:request_arrival_total",
    "vllm:request_prompt_tokens_sum",
    "vllm:request_prompt_tokens_count",
    "vllm:request_generation_tokens_sum",
    "vllm:request_generation_tokens_count",
    "vllm:time_per_output_token_seconds_sum",
    "vllm:time_per_output_token_seconds_count",
    "vllm:inter_token_latency_seconds_sum",
    "vllm:inter_token_latency_seconds_count",
    "vllm:time_to_first_token_seconds_sum",
    "vllm:time_to_first_token_seconds_count",
    "vllm:request_queue_time_seconds_sum",
    "vllm:request_queue_time_seconds_count",
    "process_start_time_seconds",
};

/// Sums and products of such values stay finite, and no server gets there.
constexpr double most_of_anything = 1e15;

}  // namespace

std::string_view name_of(field f) { return names[static_cast<std::size_t>(f)]; }

std::optional<field> field_of(std::string_view metric) {
  const auto it = std::find(names.begin(), names.end(), metric);
  if (it == names.end()) return std::nullopt;
  return static_cast<field>(it - names.begin());
}

std::uint64_t hash_of(const std::vector<net::metrics::label>& labels) {
  std::uint64_t sum = 0;
  for (const auto& l : labels) {
    const auto name = std::hash<std::string_view>{}(l.name), value = std::hash<std::string_view>{}(l.value);
    sum += (name ^ (value + 0x9e3779b97f4a7c15u + (name << 6) + (name >> 2))) * 0xff51afd7ed558ccdu;
  }
  return sum;
}

std::string server_reading::add(field f, std::uint64_t labels, double value, bool aborted) {
  if (!(value >= 0 && value <= most_of_anything)) return fmt::format("{} is {}", name_of(f), value);
  all_.push_back({f, aborted, labels, value});
  present_ |= bit(f);
  return {};
}

std::string server_reading::seal() {
  std::sort(all_.begin(), all_.end(), [](const series& a, const series& b) { return a.key() < b.key(); });
  const auto twice =
      std::adjacent_find(all_.begin(), all_.end(), [](const series& a, const series& b) { return a.key() == b.key(); });
  return twice == all_.end() ? std::string() : std::string(name_of(twice->field));
}

bool server_reading::empty() const {
  return std::all_of(all_.begin(), all_.end(), [](const series& s) { return s.field == field::started; });
}

double server_reading::total(field f) const {
  double sum = 0;
  for (const auto& s : all_)
    if (s.field == f) sum += s.value;
  return sum;
}

std::optional<double> server_reading::started_s() const {
  if (!has(field::started)) return std::nullopt;
  return total(field::started);
}

void server_reading::keep_absent_of(const server_reading& older) {
  constexpr std::size_t most_series = 4096;  // labels that change for ever are not kept for ever
  const auto by_key = [](const series& a, const series& b) { return a.key() < b.key(); };
  const auto before = present_;
  const auto there = static_cast<std::ptrdiff_t>(all_.size());
  for (const auto& s : older.all_) {
    const bool field_there = before & bit(s.field);
    // What is running is what is shown to be.
    if (s.field < field::success || (field_there && s.field == field::started)) continue;
    if (!field_there && s.field <= field::arrivals) continue;
    if (field_there && (all_.size() >= most_series || std::binary_search(all_.begin(), all_.begin() + there, s, by_key)))
      continue;
    all_.push_back(s);
    present_ |= bit(s.field);
  }
  std::sort(all_.begin(), all_.end(), by_key);
}

counter_reader::counter_reader(std::string model, net::metrics::exposition_limits limits)
    : model_(std::move(model)),
      text_([](std::string_view name) { return field_of(name).has_value(); },
            [this](const net::metrics::sample& s) { return take(s); }, limits) {}

std::string counter_reader::take(const net::metrics::sample& s) {
  const auto f = *field_of(s.name);
  const auto of = s.label_value("model_name");
  if (!model_.empty() && !of.empty() && of != model_) return {};
  auto problem = out_.add(f, hash_of(s.labels), s.value, s.label_value(finished_reason) == abort_reason);
  // Without a start that can be, a restart is told from the counters alone.
  return f == field::started ? std::string() : problem;
}

tl::expected<server_reading, std::string> counter_reader::finish() {
  if (auto cut = text_.finish(); !cut.empty()) return tl::unexpected(std::move(cut));
  if (const auto twice = out_.seal(); !twice.empty()) return tl::unexpected(twice + " is there twice with the same labels");
  if (out_.empty())
    return tl::unexpected(model_.empty() ? std::string("no vLLM metrics")
                                         : fmt::format("no vLLM metrics of model \"{}\"", model_));
  return std::move(out_);
}

std::string missing_in(const server_reading& r) {
  std::string out;
  const auto name = [&](std::string_view family) {
    if (!out.empty()) out += ", ";
    out += family;
  };
  for (const auto f : {field::running, field::waiting})
    if (!r.has(f) && !r.unread(f)) name(name_of(f));
  const bool busy = r.in_system() > 0;
  const bool served = std::any_of(r.all().begin(), r.all().end(), [](const auto& s) {
    return s.value > 0 && s.field != field::running && s.field != field::waiting && s.field != field::started;
  });
  if (!r.has(field::success) && (busy || served)) name(name_of(field::success));
  // Whatever has been completed has had its lengths observed.
  const bool completed = std::any_of(r.all().begin(), r.all().end(),
                                     [](const auto& s) { return s.field == field::success && !s.aborted && s.value > 0; });
  const auto lengths = [&](field sum, field count, std::string_view family) {
    if (!completed || r.unread(count)) return;
    if (!r.has(sum) || !r.has(count) || r.total(count) <= 0) name(family);
  };
  lengths(field::prompt_sum, field::prompt_count, "vllm:request_prompt_tokens");
  lengths(field::generation_sum, field::generation_count, "vllm:request_generation_tokens");
  return out;
}

}  // namespace inferno::actors
