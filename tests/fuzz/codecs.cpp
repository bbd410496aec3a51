// Streams, texts and documents.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <string>

#include "actors/config_maps.hpp"
#include "actors/server_track.hpp"
#include "model/system_json.hpp"
#include "net/kube/client.hpp"
#include "net/kube/kubeconfig.hpp"
#include "net/metrics/exposition.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace inferno::fuzz {
namespace {

/// What a decoder tells of a body that comes in pieces of `size` bytes.
std::string told(std::string_view body, std::size_t size) {
  net::kube::watch_decoder decoder(1u << 16);
  std::string out;
  for (std::size_t at = 0; at < body.size(); at += size) {
    std::vector<net::kube::watch_event> events;
    const auto fed = decoder.feed(body.substr(at, size), events);
    for (const auto& e : events) out += std::to_string(static_cast<int>(e.type)) + boost::json::serialize(e.object) + "\n";
    if (!fed) return out + "error";
  }
  return out;
}

/// Equal but for the last bits of numbers: Boost.JSON 1.81 does not read all of a long one.
bool alike(const boost::json::value& a, const boost::json::value& b) {
  if (a.is_number() && b.is_number()) {
    const double x = a.to_number<double>(), y = b.to_number<double>();
    return std::abs(x - y) <= 1e-15 * std::max(std::abs(x), std::abs(y));
  }
  if (a.is_array() && b.is_array())
    return std::equal(a.get_array().begin(), a.get_array().end(), b.get_array().begin(), b.get_array().end(), alike);
  if (!a.is_object() || !b.is_object()) return a == b;
  const auto same_entry = [](const auto& p, const auto& q) { return p.key() == q.key() && alike(p.value(), q.value()); };
  return std::equal(a.get_object().begin(), a.get_object().end(), b.get_object().begin(), b.get_object().end(), same_entry);
}

}  // namespace

/// The first byte says how long the pieces are. They make no difference.
void watch_decoder(std::string_view data) {
  if (data.empty()) return;
  const auto size = static_cast<std::size_t>(static_cast<unsigned char>(data[0])) + 1;
  data.remove_prefix(1);
  require(told(data, data.size() + 1) == told(data, size), "the pieces of a watch's body make no difference");
}

void exposition(std::string_view data) {
  const auto all = net::metrics::parse_exposition(data);
  const auto some = net::metrics::parse_exposition(data, "vllm:");
  require(some.samples.size() <= all.samples.size(), "a prefix leaves samples out");
  const auto read = [&](std::size_t piece) {
    actors::counter_reader reader("m");
    for (std::size_t at = 0; at < data.size(); at += piece)
      if (auto problem = reader.feed(data.substr(at, piece)); !problem.empty())
        return tl::expected<actors::server_reading, std::string>(tl::unexpect, std::move(problem));
    return reader.finish();
  };
  const auto whole = read(data.size() + 1), pieces = read(7);
  require(whole.has_value() == pieces.has_value(), "the pieces of an exposition make no difference");
  if (!whole) return;
  actors::server_track track;
  for (int i = 1; i < 4; ++i) {
    auto next = *whole;
    next.clock_s = i;
    const auto d = track.observe(std::move(next), i == 1 ? std::optional(0.0) : std::nullopt).load;
    require(std::isfinite(d.arrivals) && d.arrivals >= 0 && std::isfinite(d.out_tokens),
            "what is believed is a number, from 0 on");
    require(i == 1 || d.arrivals == 0, "the same reading again is no load");
  }
}

/// "s", "a" or "c" for the map, the entry's name up to the end of the line, its value.
void config_maps(std::string_view data) {
  if (data.empty()) return;
  const char map = data[0];
  const auto line = data.find('\n');
  const std::string key(data.substr(1, line == std::string_view::npos ? line : line - 1));
  const std::string value(line == std::string_view::npos ? std::string_view() : data.substr(line + 1));
  actors::config_reader reader{actors::runtime_settings{}};
  const auto read = [&](const std::map<std::string, std::string>& entries) {
    return map == 's'   ? reader.read_settings(entries)
           : map == 'a' ? reader.read_accelerators(entries)
                        : reader.read_classes(entries);
  };
  const auto problems = read({{key, value}});
  for (const auto& p : problems) require(!p.message.empty(), "a problem has a message");
  require(read({{key, value}}).size() == problems.size(), "an entry is as good as it was");
  (void)reader.current();
}

/// What has been read can be written and read again, and then stays as it is.
void system_json(std::string_view data) {
  const auto system = model::parse_system(data);
  if (!system) return require(!system.error().empty(), "an error says what is wrong");
  const auto written = model::to_json(*system);
  const auto again = model::parse_system(written);
  require(again.has_value(), "what is written can be read");
  require(alike(boost::json::parse(model::to_json(*again)), boost::json::parse(written)), "and is the same");
}

void kubeconfig(std::string_view data) {
  const int fd = ::memfd_create("kubeconfig", 0);
  if (fd < 0) return;
  require(::write(fd, data.data(), data.size()) == static_cast<ssize_t>(data.size()), "memory takes what is written");
  const auto access = net::kube::load_kubeconfig("/proc/self/fd/" + std::to_string(fd));
  if (!access) require(!access.error().message.empty(), "an error says what is wrong");
  ::close(fd);
}

}  // namespace inferno::fuzz
