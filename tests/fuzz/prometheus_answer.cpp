// What a Prometheus, or whoever listens at its address, may answer.
#include <cmath>

#include "actors/pod_tracks.hpp"
#include "actors/prometheus_join.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace inferno::fuzz {
namespace {

net::metrics::vector_sample scrape_at(double time_s) {
  net::metrics::vector_sample out;
  out.labels = {{"inferno", "time"}, {"namespace", "llm"}, {"pod", "a"}, {"model_name", "m"}};
  out.time_s = out.value = time_s;
  return out;
}

net::result<std::vector<net::metrics::vector_sample>> read(std::string_view text, int status, std::size_t piece) {
  std::vector<net::metrics::vector_sample> out;
  net::metrics::answer_reader reader("Prometheus", [&](const auto& s) { out.push_back(s); });
  for (std::size_t at = 0; at < text.size(); at += piece)
    if (!reader.feed(text.substr(at, piece))) break;
  if (const auto end = reader.finish(status); !end) return tl::unexpected(end.error());
  return out;
}

}  // namespace

/// The first byte says which query it answers, in a fleet of two pods; one of them has been scraped.
void prometheus_answer(std::string_view data) {
  if (data.empty()) return;
  const auto queries = actors::prometheus_queries().size();
  const auto field = static_cast<std::size_t>(static_cast<unsigned char>(data[0])) % (queries + 1);
  const auto text = data.substr(1);
  const auto answer = read(text, 200, text.size());
  const auto in_pieces = read(text, 200, 3);
  require(answer.has_value() == in_pieces.has_value(), "where an answer is cut into pieces does not matter");
  require(!read(text, 500, text.size()), "with an error's status nothing is an answer");
  if (!answer) {
    require(!answer.error().message.empty(), "an error says what is wrong");
    return;
  }
  require(answer->size() == in_pieces->size(), "nor does it for the number of samples");
  (void)actors::prometheus_join::queues(*answer);

  const auto targets = std::make_shared<const std::vector<actors::scrape_target>>(
      std::vector<actors::scrape_target>{{{"llm", "a"}, "m", "10.0.0.1", 8000}, {{"llm", "b"}, "m", "10.0.0.2", 8000}});
  actors::pod_tracks tracks;
  for (int round = 1; round < 4; ++round) {
    actors::prometheus_join join(*targets);
    for (std::size_t i = 0; i < queries; ++i) {
      join.add(i, {scrape_at(1.7e9 + 15 * round)});
      if (field == i || field == queries) join.add(i, *answer);
    }
    tracks.begin(targets, 15.0 * round);
    for (auto& found : join.servers()) {
      if (!found.problem.empty()) continue;
      const auto s = tracks.observe(*found.target, found.server, std::move(found.reading), 15.0 * round - found.age_s);
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
