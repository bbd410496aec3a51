// What a Prometheus, or whoever listens at its address, may answer.
#include <cmath>

#include "actors/prometheus_join.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace inferno::fuzz {

/// The first byte says which query it answers, in a fleet of one pod; a second answer to all others tells when that was scraped.
void prometheus_answer(std::string_view data) {
  if (data.empty()) return;
  const auto queries = actors::prometheus_queries(std::chrono::seconds(60));
  const auto field = static_cast<std::size_t>(static_cast<unsigned char>(data[0])) % (queries.size() + 1);
  net::http_response response;
  response.status = 200;
  response.body = std::string(data.substr(1));
  const auto answer = net::metrics::decode_answer(response, "Prometheus");
  if (!answer) {
    require(!answer.error().message.empty(), "an error says what is wrong");
    response.status = 500;
    require(!net::metrics::decode_answer(response, "Prometheus"), "what is no answer is none with an error's status either");
    return;
  }
  (void)actors::prometheus_join::queues(*answer);

  const std::vector<actors::scrape_target> targets{{{"llm", "a"}, "m", "10.0.0.1", 8000}, {{"llm", "b"}, "m", "10.0.0.2", 8000}};
  net::metrics::vector_sample scraped;
  scraped.labels = {{"namespace", "llm"}, {"pod", "a"}, {"model_name", "m"}};
  actors::scrape_history history;
  for (int round = 1; round < 4; ++round) {
    actors::prometheus_join join(targets, 100.0 * round, 60);
    scraped.time_s = scraped.value = 1.7e9 + 15 * round;
    join.add_scraped({scraped});
    for (std::size_t i = 0; i < queries.size(); ++i)
      if (field == i || field == queries.size()) join.add(i, *answer);
    if (field == queries.size()) join.add_scraped(*answer);
    for (const auto& s : history.judge(targets, join.readings(), 60)) {
      if (!s.problem.empty()) continue;
      const auto& l = s.load;
      for (const double x : {l.span_s, l.arrivals, l.completions, l.in_tokens, l.out_tokens, l.itl_sum_s, l.itl_count,
                             l.ttft_sum_s, l.ttft_count, l.wait_sum_s, l.wait_count, l.running, l.waiting})
        require(std::isfinite(x) && x >= 0, "what is believed is a number, from 0 on");
      require(std::isfinite(l.time_s), "and is of a time");
    }
  }
}

}  // namespace inferno::fuzz
