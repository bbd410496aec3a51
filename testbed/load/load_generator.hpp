#pragma once
// Open-loop load on OpenAI-compatible servers: requests come when they come, whether or not earlier ones are answered.
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "net/http/client.hpp"

namespace inferno::testbed {

namespace asio = boost::asio;

enum class arrival_mode { poisson, deterministic };
/// Which of several servers a request goes to: a Service's kube-proxy draws one, an inference gateway takes the least loaded.
enum class routing { least_outstanding, random };

/// A rate, in requests per minute, for so many seconds; 0 s = for ever.
struct load_phase {
  double seconds = 0;
  double per_minute = 60;
};

/// "60" or "[[120,60],[120,80]]": pairs of seconds and requests per minute. Error: names the text.
tl::expected<std::vector<load_phase>, std::string> parse_rate(const std::string& text);

struct load_config {
  /// Base URLs now ("http://127.0.0.1:8000"); asked for every request.
  std::function<std::vector<std::string>()> targets;
  std::string model = "default";
  std::vector<load_phase> phases{{0, 60}};
  arrival_mode mode = arrival_mode::poisson;
  routing route = routing::least_outstanding;
  int content_length = 150;  ///< words of the prompt
  int max_tokens = 0;        ///< 0 = the server decides
  bool stream = true;
  std::uint64_t seed = 1;
  std::chrono::milliseconds request_timeout{600000};
  /// A request that cannot connect goes to another server, as gateways do it: the list may be a moment old.
  bool reconnect = false;
  double slo_ttft_ms = 0;  ///< objective of a request's time to first token; 0 = none
  double slo_itl_ms = 0;   ///< objective of the mean gap between a request's tokens; 0 = none
};

/// Latencies in milliseconds of requests that ended well.
struct latency_summary {
  double mean = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0;
};
struct load_statistics {
  long sent = 0, ok = 0, failed = 0;
  long tokens = 0;
  latency_summary ttft;  ///< of streamed requests
  latency_summary itl;   ///< mean gap between tokens of a request; the mean is weighted by tokens
  std::string first_error;
  /// Of the requests that have ended, those that failed among them: within each objective, and within both. Nothing is known of
  /// an objective that has not been set, nor of requests that are not streamed. Failed requests are within none.
  long within_ttft = 0, within_itl = 0, within = 0;
  long ended() const { return ok + failed; }
  long outstanding() const { return sent - ok - failed; }
};

class load_generator {
 public:
  /// Runs on one executor, where everything but statistics() and the targets function happens.
  load_generator(asio::any_io_executor executor, load_config config);
  ~load_generator();  ///< stop(), without waiting for requests under way; neither `targets` nor `done` is called any more
  load_generator(const load_generator&) = delete;
  load_generator& operator=(const load_generator&) = delete;

  /// `done` is called on the executor when the last phase is over and every request has ended.
  void start(std::function<void()> done = {});
  /// No new requests. Thread-safe.
  void stop();
  /// Of the requests that ended within `recent`; 0 = of all. Counters are those of the whole run. Thread-safe.
  load_statistics statistics(std::chrono::milliseconds recent = std::chrono::milliseconds(0)) const;

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::testbed
