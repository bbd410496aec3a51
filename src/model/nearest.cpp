#include "model/nearest.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace inferno::model {
namespace {

constexpr std::size_t longest = 64;  // a longer word is no slip of the finger

std::string lowered(std::string_view text) {
  std::string out(text);
  for (auto& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

/// Edits between two words, an exchange of neighbours being one (optimal string alignment).
std::size_t edits(const std::string& a, const std::string& b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

}  // namespace

std::optional<std::string> nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::optional<std::string> best;
  auto least = std::max<std::size_t>(2, word.size() / 3) + 1;
  if (word.size() > longest) return best;
  const auto typed = lowered(word);
  for (const auto& c : candidates) {
    const auto distance = edits(typed, lowered(c));
    if (distance >= least || distance >= c.size()) continue;
    least = distance;
    best = c;
  }
  return best;
}

std::string unknown_field(std::string_view name, std::span<const std::string_view> known) {
  const auto meant = nearest(std::string(name), {known.begin(), known.end()});
  return meant ? fmt::format("unknown field; did you mean \"{}\"?", *meant) : std::string("unknown field");
}

}  // namespace inferno::model
