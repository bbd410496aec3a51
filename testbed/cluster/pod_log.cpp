#include "testbed/cluster/pod_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "net/kube/client.hpp"
#include "testbed/cluster/pod_status.hpp"

namespace inferno::testbed {
namespace {

api_error bad_request(std::string message) { return {400, "BadRequest", std::move(message)}; }

api_result<std::optional<std::size_t>> count_of(const api_request& request, const char* name) {
  const auto text = request.parameter(name);
  if (text.empty()) return std::nullopt;
  std::size_t n = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc() || end != text.data() + text.size())
    return tl::unexpected(bad_request(fmt::format("{}: expected a whole number >= 0, got \"{}\"", name, text)));
  return n;
}

}  // namespace

api_result<log_options> log_options_of(const api_request& request, std::chrono::system_clock::time_point now) {
  log_options out;
  out.container = request.parameter("container");
  out.follow = request.flag("follow");
  out.timestamps = request.flag("timestamps");
  const auto tail = count_of(request, "tailLines"), limit = count_of(request, "limitBytes"),
             seconds = count_of(request, "sinceSeconds");
  for (const auto* r : {&tail, &limit, &seconds})
    if (!*r) return tl::unexpected(r->error());
  out.tail = *tail;
  out.limit = *limit;
  if (*seconds) out.since = now - std::chrono::seconds(**seconds);
  if (const auto since = request.parameter("sinceTime"); !since.empty()) {
    out.since = net::kube::parse_time(since);
    if (!out.since)
      return tl::unexpected(bad_request(fmt::format("sinceTime: expected 2006-01-02T15:04:05Z, got \"{}\"", since)));
  }
  return out;
}

api_result<bool> runs_server(const json::object& pod, const log_options& options) {
  const auto name = text_at(pod, {"metadata", "name"});
  std::vector<std::string> containers;
  if (const auto* list = find(pod, {"spec", "containers"}); list && list->is_array())
    for (const auto& c : list->get_array()) containers.push_back(text_at(c.get_object(), {"name"}));
  if (options.container.empty() && containers.size() > 1)
    return tl::unexpected(bad_request(
        fmt::format("a container name must be specified for pod {}, choose one of: [{}]", name, fmt::join(containers, " "))));
  const auto container = options.container.empty() && !containers.empty() ? containers.front() : options.container;
  if (std::find(containers.begin(), containers.end(), container) == containers.end())
    return tl::unexpected(bad_request(fmt::format("container {} is not valid for pod {}", container, name)));
  if (const auto* statuses = find(pod, {"status", "containerStatuses"}); statuses && statuses->is_array()) {
    for (const auto& s : statuses->get_array())
      if (text_at(s.get_object(), {"name"}) == container)
        if (const auto why = text_at(s.get_object(), {"state", "waiting", "reason"}); !why.empty())
          return tl::unexpected(
              bad_request(fmt::format("container \"{}\" in pod \"{}\" is waiting to start: {}", container, name, why)));
  } else {
    return tl::unexpected(bad_request(fmt::format("pod {} has not been started", name)));
  }
  return server_container(pod) == container;
}

std::string log_text(const std::vector<log_line>& lines, const log_options& options, std::uint64_t from, bool first) {
  std::vector<const log_line*> chosen;
  for (const auto& l : lines)
    if (l.number >= from && (!first || !options.since || l.at >= *options.since)) chosen.push_back(&l);
  if (first && options.tail && chosen.size() > *options.tail)
    chosen.erase(chosen.begin(), chosen.end() - static_cast<std::ptrdiff_t>(*options.tail));
  std::string out;
  for (const auto* l : chosen) {
    if (options.timestamps) out += net::kube::format_micro_time(l->at) + " ";
    out += l->text + "\n";
  }
  if (options.limit && out.size() > *options.limit) out.resize(*options.limit);
  return out;
}

}  // namespace inferno::testbed
