// A thousand clients at once, each with a stream of its own.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <boost/json.hpp>
#include <thread>

#include "net/http/client.hpp"
#include "net/metrics/exposition.hpp"
#include "net/open_files.hpp"
#include "testbed/vllm/emulated_vllm.hpp"
#include "tests/support/net_io.hpp"

namespace inferno::testbed {
namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

constexpr int clients = 1000;
constexpr int tokens_each = 20;
constexpr int batch_limit = 128;
// A batch takes most of a second: all clients are there long before the last one is served, on a busy machine too.
constexpr double alpha_ms = 20, beta_ms = 0.2;
constexpr double step_ms = alpha_ms + beta_ms * batch_limit;

double ms_since(steady::time_point from) { return std::chrono::duration<double, std::milli>(steady::now() - from).count(); }

/// What one client saw.
struct seen {
  std::string problem = "not ended";
  int status = 0;
  int tokens = 0;
  bool done = false;
  double first_ms = 0, last_ms = 0;
};

asio::awaitable<void> stream_one(net::http_client& client, std::string url, seen& out, int& ended) {
  net::http_request request;
  request.method = "POST";
  request.url = url + "/v1/completions";
  request.content_type = "application/json";
  request.body = fmt::format(R"({{"model":"default","prompt":"one two three","stream":true,"max_tokens":{},"ignore_eos":true}})",
                             tokens_each);
  request.timeout = 60s;
  const auto began = steady::now();
  auto stream = co_await client.open_stream(std::move(request));
  std::string text;
  if (!stream) {
    out.problem = stream.error().message;
  } else {
    out.status = (*stream)->status();
    for (;;) {
      auto part = co_await (*stream)->read_some(60s);
      if (!part) {
        out.problem = part.error().message;
        break;
      }
      if (!*part) {
        out.problem.clear();
        break;
      }
      if (text.empty()) out.first_ms = ms_since(began);
      text += **part;
    }
    out.last_ms = ms_since(began);
  }
  // One server-sent event a token, then the end mark.
  for (std::size_t at = text.find("data: "); at != std::string::npos; at = text.find("data: ", at + 6)) {
    const auto end = text.find("\n\n", at);
    const auto data = text.substr(at + 6, end == std::string::npos ? end : end - at - 6);
    boost::system::error_code ec;
    const auto event = data == "[DONE]" ? boost::json::value() : boost::json::parse(data, ec);
    if (data == "[DONE]")
      out.done = true;
    else if (ec || !event.is_object())
      out.problem = "not JSON: " + data;
    else if (!event.at("choices").at(0).at("text").as_string().empty())
      ++out.tokens;  // the last event of all tells why it ended and has no text
  }
  ++ended;
}

/// The gauge or the sum of the counters of this name.
double metric(const std::string& text, std::string_view name) {
  double sum = 0;
  for (const auto& s : net::metrics::parse_exposition(text).samples)
    if (s.name == name) sum += s.value;
  return sum;
}

TEST(Burst, AThousandStreamsAtOnceAllComeToTheirEnd) {
  ASSERT_GT(net::raise_open_file_limit(), 2u * clients + 100) << "each stream is a socket here and one there";
  host where;
  vllm_settings settings;
  settings.engine = {model::linear_profile{alpha_ms, beta_ms, 0, 0, false}, batch_limit, 2L * clients, 0, true};
  auto server = emulated_vllm::start(where, settings, "127.0.0.1", 0);
  ASSERT_TRUE(server) << server.error();
  const auto url = (*server)->url();

  asio::io_context context;
  net::http_client client(context.get_executor(), {});
  std::vector<seen> all(clients);
  int ended = 0;
  const auto began = steady::now();
  for (auto& one : all) asio::co_spawn(context, stream_one(client, url, one, ended), asio::detached);
  // The server is looked at all the while, by a client that does not wait behind the thousand.
  std::atomic<bool> over = false;
  double most_running = 0, most_waiting = 0;
  std::string trouble;
  std::thread looker([&] {
    asio::io_context own;
    net::http_client observer(own.get_executor(), {});
    double last_success = 0;
    while (!over && trouble.empty()) {
      net::http_request get;
      get.url = url + "/metrics";
      const auto got = test::run(own, observer.request(std::move(get)));
      if (!got) {
        trouble = got.error().message;
        continue;
      }
      most_running = std::max(most_running, metric(got->body, "vllm:num_requests_running"));
      most_waiting = std::max(most_waiting, metric(got->body, "vllm:num_requests_waiting"));
      const double success = metric(got->body, "vllm:request_success_total");
      if (success < last_success) trouble = "a counter fell";
      last_success = success;
    }
  });
  context.run_for(60s);
  over = true;
  looker.join();
  EXPECT_EQ(trouble, "");
  const double wall_ms = ms_since(began);

  ASSERT_EQ(ended, clients);
  for (const auto& one : all) {
    EXPECT_EQ(one.problem, "");
    EXPECT_EQ(one.status, 200);
    EXPECT_EQ(one.tokens, tokens_each);
    EXPECT_TRUE(one.done);
  }
  EXPECT_EQ(most_running, batch_limit) << "the batch was full, and never more than that";
  EXPECT_GT(most_waiting, 0);
  EXPECT_LE(most_waiting, clients);
  net::http_request get;
  get.url = url + "/metrics";
  const auto after = test::run(context, client.request(std::move(get)));
  ASSERT_TRUE(after);
  EXPECT_EQ(metric(after->body, "vllm:request_success_total"), clients);
  EXPECT_EQ(metric(after->body, "vllm:generation_tokens_total"), clients * tokens_each);
  EXPECT_EQ(metric(after->body, "vllm:num_requests_running"), 0);
  EXPECT_EQ(metric(after->body, "vllm:num_requests_waiting"), 0);

  // Eight batches one after the other: no stream can be quicker than the model.
  const double at_least_ms = tokens_each * clients * step_ms / batch_limit;
  EXPECT_GE(wall_ms, 0.98 * at_least_ms - 2 * tokens_each * step_ms);
  std::vector<double> first;
  double itl = 0;
  for (const auto& one : all) {
    first.push_back(one.first_ms);
    itl += (one.last_ms - one.first_ms) / (tokens_each - 1) / clients;
  }
  std::sort(first.begin(), first.end());
  fmt::print(
      "burst of {} streams of {} tokens, batch {}: {:.2f} s ({:.2f} s by the profile), first token p50 {:.0f} ms, p99 "
      "{:.0f} ms, {:.2f} ms between tokens ({:.2f} at a full batch)\n",
      clients, tokens_each, batch_limit, wall_ms / 1000, at_least_ms / 1000, first[clients / 2], first[clients * 99 / 100], itl,
      step_ms);
}

}  // namespace
}  // namespace inferno::testbed
