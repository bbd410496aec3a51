// The emulated vLLM server over HTTP: OpenAI's endpoints, vLLM's metrics.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <numeric>
#include <sstream>

#include "net/http/client.hpp"
#include "net/metrics/exposition.hpp"
#include "testbed/vllm/emulated_vllm.hpp"
#include "tests/support/net_io.hpp"

namespace inferno::testbed {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

class Vllm : public ::testing::Test {
 protected:
  Vllm() {
    settings_.model = "m";
    settings_.engine = {model::linear_profile{1, 0.1, 2, 0, true}, 4, 100, 0, true};
    settings_.avg_tokens = 7;
    settings_.lengths = length_distribution::constant;
    settings_.max_model_len = 1000;
  }
  const std::string& url() {
    if (!server_) {
      auto started = emulated_vllm::start(where_, settings_, "127.0.0.1", 0);
      if (!started) throw std::runtime_error(started.error());
      server_ = std::move(*started);
      url_ = server_->url();
    }
    return url_;
  }
  net::http_request post(const std::string& path, const std::string& body) {
    net::http_request r;
    r.method = "POST";
    r.url = url() + path;
    r.content_type = "application/json";
    r.body = body;
    return r;
  }
  net::http_response send(net::http_request r) {
    auto got = test::run(context_, http_.request(std::move(r)));
    if (!got) throw std::runtime_error(got.error().message);
    return std::move(*got);
  }
  net::http_response get(const std::string& path) {
    net::http_request r;
    r.url = url() + path;
    return send(std::move(r));
  }
  json::object complete(const std::string& path, const std::string& body, int status = 200) {
    const auto r = send(post(path, body));
    EXPECT_EQ(r.status, status) << r.body;
    return json::parse(r.body).as_object();
  }
  /// The data of the server-sent events of a streamed answer.
  std::vector<std::string> events(const std::string& path, const std::string& body) {
    const auto r = send(post(path, body));
    EXPECT_EQ(r.status, 200) << r.body;
    EXPECT_EQ(r.header("Content-Type"), "text/event-stream; charset=utf-8");
    std::vector<std::string> out;
    for (std::size_t at = 0; at < r.body.size();) {
      const auto end = r.body.find("\n\n", at);
      EXPECT_EQ(r.body.substr(at, 6), "data: ");
      out.push_back(r.body.substr(at + 6, end - at - 6));
      at = end == std::string::npos ? r.body.size() : end + 2;
    }
    return out;
  }
  void refused(const std::string& path, const std::string& body, int status, const std::string& what) {
    const auto r = complete(path, body, status);
    const auto message = std::string(r.at("error").at("message").as_string());
    EXPECT_NE(message.find(what), std::string::npos) << message;
    EXPECT_EQ(r.at("error").at("code"), json::value(status));
  }
  double metric(const std::string& name, const std::string& label = {}, const std::string& value = {}) {
    const auto text = get("/metrics").body;
    double sum = 0;
    for (const auto& s : net::metrics::parse_exposition(text).samples)
      if (s.name == name && (label.empty() || s.label_value(label) == value)) sum += s.value;
    return sum;
  }

  vllm_settings settings_;
  host where_;
  std::unique_ptr<emulated_vllm> server_;
  std::string url_;
  asio::io_context context_;
  net::http_client http_{context_.get_executor(), {}};
};

const std::string chat = "/v1/chat/completions";
const std::string text = "/v1/completions";

TEST_F(Vllm, AnswersAChat) {
  const auto r = complete(chat, R"({"model":"m","messages":[{"role":"system","content":"be brief"},
    {"role":"user","content":[{"type":"text","text":"how are you"}]}]})");
  EXPECT_EQ(r.at("object"), json::value("chat.completion"));
  const auto& choice = r.at("choices").at(0);
  EXPECT_EQ(choice.at("message").at("role"), json::value("assistant"));
  EXPECT_FALSE(choice.at("message").at("content").as_string().empty());
  EXPECT_EQ(choice.at("finish_reason"), json::value("stop"));
  EXPECT_EQ(r.at("usage"), json::value({{"prompt_tokens", 5}, {"completion_tokens", 7}, {"total_tokens", 12}}));
}

TEST_F(Vllm, AnswersATextUpToItsLimit) {
  const auto r = complete(text, R"({"model":"m","prompt":[1,2,3],"max_tokens":3})");
  EXPECT_EQ(r.at("object"), json::value("text_completion"));
  EXPECT_EQ(r.at("choices").at(0).at("finish_reason"), json::value("length"));
  EXPECT_EQ(r.at("usage"), json::value({{"prompt_tokens", 3}, {"completion_tokens", 3}, {"total_tokens", 6}}));
}

TEST_F(Vllm, StreamsATokenAnEvent) {
  for (const auto& path : {chat, text}) {
    const auto prompt = path == chat ? R"("messages":[{"role":"user","content":"hi"}])" : R"("prompt":"hi")";
    const auto list =
        events(path, fmt::format(R"({{"model":"m",{},"stream":true,"stream_options":{{"include_usage":true}}}})", prompt));
    ASSERT_EQ(list.size(), 7u + 3) << "tokens, the reason, usage, the end";
    EXPECT_EQ(list.back(), "[DONE]");
    for (std::size_t i = 0; i < 7; ++i) {
      const auto choice = json::parse(list[i]).at("choices").at(0);
      EXPECT_TRUE(choice.at("finish_reason").is_null());
      EXPECT_FALSE(path == chat ? choice.at("delta").at("content").as_string().empty() : choice.at("text").as_string().empty());
    }
    EXPECT_EQ(json::parse(list[7]).at("choices").at(0).at("finish_reason"), json::value("stop"));
    EXPECT_EQ(json::parse(list[8]).at("usage").at("completion_tokens"), json::value(7));
  }
  // Without stream_options there is no usage event.
  EXPECT_EQ(events(text, R"({"model":"m","prompt":"hi","stream":true})").size(), 7u + 2);
}

TEST_F(Vllm, RefusesWhatIsNoRequest) {
  refused(text, "{", 400, "not a JSON object");
  refused(text, R"({"prompt":"x"})", 400, "model is required");
  refused(text, R"({"model":"n","prompt":"x"})", 404, "The model `n` does not exist");
  refused(text, R"({"model":"m"})", 400, "prompt is required");
  refused(text, R"({"model":"m","prompt":{}})", 400, "prompt must be a string or a list");
  refused(text, R"({"model":"m","prompt":"x","max_tokens":0})", 400, "max_tokens must be a whole number >= 1, got 0");
  refused(text, R"({"model":"m","prompt":"x","max_tokens":"many"})", 400, "max_tokens");
  refused(text, R"({"model":"m","prompt":"x","stream":"yes"})", 400, "stream must be true or false");
  refused(text, R"({"model":"m","prompt":"x","max_tokens":1000})", 400, "maximum context length is 1000 tokens");
  refused(chat, R"({"model":"m"})", 400, "messages is required");
  refused(chat, R"({"model":"m","messages":[]})", 400, "messages must be a list that is not empty");
  refused(chat, R"({"model":"m","messages":[{"role":"user"}]})", 400, "every message needs content");
  EXPECT_EQ(get(text).status, 405);
  EXPECT_EQ(get("/v2").status, 404);
  EXPECT_EQ(metric("vllm:request_arrival_total"), 0) << "none of them came to the engine";
}

TEST_F(Vllm, TellsItsModelAndHealth) {
  EXPECT_EQ(get("/health").status, 200);
  const auto models = json::parse(get("/v1/models").body);
  EXPECT_EQ(models.at("data").at(0).at("id"), json::value("m"));
  EXPECT_EQ(models.at("data").at(0).at("max_model_len"), json::value(1000));
}

TEST_F(Vllm, CountsAsVllmDoes) {
  complete(text, R"({"model":"m","prompt":"a b c"})");
  complete(text, R"({"model":"m","prompt":"a b","max_tokens":2})");
  EXPECT_EQ(metric("vllm:request_success_total", "finished_reason", "stop"), 1);
  EXPECT_EQ(metric("vllm:request_success_total", "finished_reason", "length"), 1);
  EXPECT_EQ(metric("vllm:prompt_tokens_total"), 5);
  EXPECT_EQ(metric("vllm:generation_tokens_total"), 9);
  for (const auto* histogram : {"request_prompt_tokens", "request_generation_tokens", "time_to_first_token_seconds",
                                "e2e_request_latency_seconds", "request_queue_time_seconds"})
    EXPECT_EQ(metric(fmt::format("vllm:{}_count", histogram), "model_name", "m"), 2) << histogram;
  // Gaps between tokens: one less than tokens.
  EXPECT_EQ(metric("vllm:time_per_output_token_seconds_count"), 7);
  EXPECT_EQ(metric("vllm:inter_token_latency_seconds_count"), 7);
  EXPECT_NEAR(metric("vllm:inter_token_latency_seconds_sum"), 7 * 0.0011, 1e-6) << "alone in the batch";
  EXPECT_NEAR(metric("vllm:time_to_first_token_seconds_sum"), 2 * 0.002, 1e-6) << "prefill";
  const auto exposition = get("/metrics").body;
  for (const auto* line : {"# TYPE vllm:num_requests_running gauge", "# TYPE vllm:request_success_total counter",
                           "# TYPE vllm:time_to_first_token_seconds histogram", "# TYPE vllm:kv_cache_usage_perc gauge"})
    EXPECT_NE(exposition.find(line), std::string::npos) << line;
}

TEST_F(Vllm, WorksInIterationsWhereItsProfileSaysSo) {
  settings_.engine = {model::iteration_profile{2, 0.5, 0, 8192}, 4, 100, 0, true};
  complete(text, R"({"model":"m","prompt":"a b c"})");
  EXPECT_EQ(metric("vllm:generation_tokens_total"), 7);
  EXPECT_NEAR(metric("vllm:time_to_first_token_seconds_sum"), 0.002 + 3 * 0.0005 + 0.0025, 1e-6) << "prefill and a step";
  EXPECT_NEAR(metric("vllm:inter_token_latency_seconds_sum"), 6 * 0.0025, 1e-6);
}

TEST_F(Vllm, ItsMetricsHaveVllmsNamesAndTypes) {
  settings_.engine.kv_tokens = 1600;
  complete(text, R"({"model":"m","prompt":"a b c"})");
  const auto exposition = get("/metrics");
  EXPECT_EQ(exposition.header("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  std::map<std::string, std::string> types;
  std::istringstream lines(exposition.body);
  for (std::string word, name, type, line; std::getline(lines, line);) {
    std::istringstream parts(line);
    if (parts >> word >> word >> name >> type && line.rfind("# TYPE ", 0) == 0) types[name] = type;
  }
  const std::map<std::string, std::string> expected{{"process_start_time_seconds", "gauge"},
                                                    {"vllm:num_requests_running", "gauge"},
                                                    {"vllm:num_requests_waiting", "gauge"},
                                                    {"vllm:kv_cache_usage_perc", "gauge"},
                                                    {"vllm:gpu_cache_usage_perc", "gauge"},
                                                    {"vllm:cache_config_info", "gauge"},
                                                    {"vllm:prompt_tokens_total", "counter"},
                                                    {"vllm:generation_tokens_total", "counter"},
                                                    {"vllm:tokens_total", "counter"},
                                                    {"vllm:request_success_total", "counter"},
                                                    {"vllm:request_arrival_total", "counter"},
                                                    {"vllm:time_to_first_token_seconds", "histogram"},
                                                    {"vllm:inter_token_latency_seconds", "histogram"},
                                                    {"vllm:time_per_output_token_seconds", "histogram"},
                                                    {"vllm:e2e_request_latency_seconds", "histogram"},
                                                    {"vllm:request_queue_time_seconds", "histogram"},
                                                    {"vllm:request_inference_time_seconds", "histogram"},
                                                    {"vllm:request_prefill_time_seconds", "histogram"},
                                                    {"vllm:request_decode_time_seconds", "histogram"},
                                                    {"vllm:request_prompt_tokens", "histogram"},
                                                    {"vllm:request_generation_tokens", "histogram"}};
  EXPECT_EQ(types, expected);
  const auto parsed = net::metrics::parse_exposition(exposition.body);
  EXPECT_EQ(parsed.bad_lines, 0u) << parsed.first_bad;
  std::map<std::string, double> last_bucket, counts;
  for (const auto& s : parsed.samples) {
    const std::string name(s.name);
    // Of the process, whatever it serves.
    if (name == "process_start_time_seconds") continue;
    EXPECT_EQ(s.label_value("engine"), "0") << name;
    if (name == "vllm:cache_config_info") {
      EXPECT_EQ(s.label_value("num_gpu_blocks"), "100");
      continue;
    }
    EXPECT_EQ(s.label_value("model_name"), "m") << name;
    if (const auto at = name.find("_bucket"); at != std::string::npos) {
      EXPECT_GE(s.value, last_bucket[name.substr(0, at)]) << name << " is cumulative";
      last_bucket[name.substr(0, at)] = s.value;
    } else if (const auto count = name.find("_count"); count != std::string::npos) {
      counts[name.substr(0, count)] = s.value;
    }
  }
  EXPECT_EQ(counts.size(), 10u);
  EXPECT_EQ(last_bucket, counts) << "the last bucket holds everything";
}

TEST_F(Vllm, StopsByItselfUnlessItIsToldNotTo) {
  const auto lengths = [&](const std::string& more) {
    const auto r = complete(text, fmt::format(R"({{"model":"m","prompt":"a b"{}}})", more));
    return fmt::format("{} {}", r.at("usage").at("completion_tokens").as_int64(),
                       std::string_view(r.at("choices").at(0).at("finish_reason").as_string()));
  };
  EXPECT_EQ(lengths(""), "7 stop");
  EXPECT_EQ(lengths(R"(,"max_tokens":50)"), "7 stop");
  EXPECT_EQ(lengths(R"(,"max_tokens":7)"), "7 stop");
  EXPECT_EQ(lengths(R"(,"max_tokens":6)"), "6 length");
  EXPECT_EQ(lengths(R"(,"max_completion_tokens":5)"), "5 length");
  EXPECT_EQ(lengths(R"(,"max_tokens":50,"ignore_eos":true)"), "50 length");
}

TEST_F(Vllm, TheModelsLengthIsTheEndOfEveryAnswer) {
  settings_.max_model_len = 5;
  const auto r = complete(text, R"({"model":"m","prompt":"a b"})");
  EXPECT_EQ(r.at("usage").at("completion_tokens"), json::value(3));
  EXPECT_EQ(r.at("choices").at(0).at("finish_reason"), json::value("length"));
}

TEST_F(Vllm, LengthsHaveTheirMeanAndComeAgainWithTheSeed) {
  const auto lengths = [&](length_distribution how, std::uint64_t seed) {
    server_.reset();
    settings_.lengths = how;
    settings_.seed = seed;
    settings_.engine = {model::linear_profile{0.01, 0, 0, 0, false}, 1, 10, 0, true};
    std::vector<std::int64_t> out;
    for (int i = 0; i < 300; ++i)
      out.push_back(complete(text, R"({"model":"m","prompt":"x"})").at("usage").at("completion_tokens").as_int64());
    return out;
  };
  const auto mean = [](const std::vector<std::int64_t>& all) {
    return static_cast<double>(std::accumulate(all.begin(), all.end(), std::int64_t{0})) / static_cast<double>(all.size());
  };
  const auto uniform = lengths(length_distribution::uniform, 1);
  EXPECT_EQ(lengths(length_distribution::uniform, 1), uniform);
  EXPECT_NE(lengths(length_distribution::uniform, 2), uniform);
  EXPECT_EQ(*std::min_element(uniform.begin(), uniform.end()), 1);
  EXPECT_EQ(*std::max_element(uniform.begin(), uniform.end()), 13) << "twice the mean, less one";
  EXPECT_NEAR(mean(uniform), 7, 0.7);
  const auto exponential = lengths(length_distribution::exponential, 1);
  EXPECT_NEAR(mean(exponential), 7, 1.3);
  EXPECT_GT(*std::max_element(exponential.begin(), exponential.end()), 20) << "a long tail";
}

TEST_F(Vllm, AFullQueueIsRefused) {
  settings_.engine = {model::linear_profile{50, 0, 0, 0, false}, 1, 1, 0, true};
  const auto body = R"({"model":"m","prompt":"x","max_tokens":4,"ignore_eos":true})";
  std::vector<int> statuses;
  for (int i = 0; i < 3; ++i)
    asio::co_spawn(
        context_,
        [](net::http_client& http, net::http_request r, std::vector<int>& out) -> asio::awaitable<void> {
          const auto got = co_await http.request(std::move(r));
          out.push_back(got ? got->status : 0);
        }(http_, post(text, body), statuses),
        asio::detached);
  test::run_until(context_, [&] { return statuses.size() == 3; });
  EXPECT_EQ(statuses, (std::vector<int>{503, 200, 200})) << "one in the batch, one in the queue";
}

TEST_F(Vllm, AClientThatGoesAwayFreesItsPlace) {
  settings_.engine = {model::linear_profile{20, 0, 0, 0, false}, 1, 10, 0, true};
  {
    auto stream = test::run(
        context_,
        http_.open_stream(post(text, R"({"model":"m","prompt":"x","max_tokens":900,"ignore_eos":true,"stream":true})")));
    ASSERT_TRUE(stream);
    ASSERT_TRUE(test::run(context_, (*stream)->read_some(5s)));
    EXPECT_EQ(metric("vllm:num_requests_running"), 1);
  }
  // 900 tokens would be 18 s; the next one is served long before.
  complete(text, R"({"model":"m","prompt":"x","max_tokens":1})");
  EXPECT_EQ(metric("vllm:num_requests_running"), 0);
  EXPECT_EQ(metric("vllm:request_success_total"), 1);
}

TEST_F(Vllm, TheKvCacheLimitsTheBatch) {
  // 20 prompt words and 20 tokens: 40 in the cache each; 100 hold two.
  settings_.engine = {model::linear_profile{10, 0, 0, 0, false}, 8, 10, 100, true};
  std::string prompt;
  for (int i = 0; i < 20; ++i) prompt += "w ";
  const auto body = fmt::format(R"({{"model":"m","prompt":"{}","max_tokens":20,"ignore_eos":true}})", prompt);
  int ended = 0;
  for (int i = 0; i < 4; ++i)
    asio::co_spawn(
        context_,
        [](net::http_client& http, net::http_request r, int& out) -> asio::awaitable<void> {
          const auto got = co_await http.request(std::move(r));
          out += got && got->status == 200;
        }(http_, post(text, body), ended),
        asio::detached);
  double most = 0;
  asio::io_context other;
  net::http_client looker(other.get_executor(), {});
  test::run_until(context_, [&] {
    net::http_request r;
    r.url = url() + "/metrics";
    const auto got = test::run(other, looker.request(std::move(r)));
    if (got)
      for (const auto& s : net::metrics::parse_exposition(got->body).samples)
        if (s.name == "vllm:num_requests_running") most = std::max(most, s.value);
    return ended == 4;
  });
  EXPECT_EQ(most, 2);
  refused(text, fmt::format(R"({{"model":"m","prompt":"{}","max_tokens":90,"ignore_eos":true}})", prompt), 503, "queue is full");
}

}  // namespace
}  // namespace inferno::testbed
