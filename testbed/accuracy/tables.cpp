// The tables of docs/model.md.
#include <fmt/format.h>

#include "testbed/accuracy/accuracy.hpp"

namespace inferno::testbed {

std::string accuracy_tables(const std::vector<study>& studies) {
  std::string out = "| data | predicted | mean error | worst | points | aim |\n|---|---|---:|---:|---:|---:|\n";
  for (const auto& s : studies)
    for (const auto& f : s.figures)
      out += fmt::format("| {} | {} | {:.1f} % | {:.0f} % | {} | {} |\n", s.name, f.what, 100 * f.mean, 100 * f.worst, f.points,
                         f.aim ? fmt::format("{:.0f} %", 100 * *f.aim) : "");
  for (const auto& s : studies) {
    out += fmt::format("\n**{}**: {}\n", s.name, s.setting);
    if (!s.details.empty()) out += "\n" + s.details;
  }
  return out;
}

tl::expected<std::vector<study>, std::string> run_accuracy(const std::string& folder) {
  std::vector<study> out;
  for (const auto run : {windows_of_a_server, batches_of_a_server, shapes_of_requests, rates_up_to_the_knee, bursts_of_requests,
                         choice_of_hardware}) {
    auto result = run(folder);
    if (!result) return tl::unexpected(result.error());
    out.push_back(std::move(*result));
  }
  return out;
}

}  // namespace inferno::testbed
