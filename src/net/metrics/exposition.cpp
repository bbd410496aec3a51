#include "net/metrics/exposition.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "net/metrics/number.hpp"

namespace inferno::net::metrics {
namespace {

bool name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':'; }
bool name_char(char c) { return name_start(c) || (c >= '0' && c <= '9'); }
bool blank(char c) { return c == ' ' || c == '\t'; }

/// One line of samples, read from left to right.
class line_reader {
 public:
  explicit line_reader(std::string_view line) : rest_(line) {}

  /// nullptr = read; else what is wrong. `is_wanted(name)`: the labels are kept.
  template <class Predicate>
  const char* read(sample& out, const Predicate& is_wanted, bool& wanted) {
    out.name = name();
    if (out.name.empty()) return "no metric name";
    wanted = is_wanted(out.name);
    skip();
    if (!rest_.empty() && rest_.front() == '{') {
      rest_.remove_prefix(1);
      if (const char* problem = labels(out, wanted)) return problem;
      skip();
    } else if (!rest_.empty() && rest_.data() == out.name.data() + out.name.size()) {
      return "a metric name with a character that does not belong there";
    }
    if (const char* problem = value(out.value)) return problem;
    return tail();
  }

 private:
  void skip() {
    while (!rest_.empty() && blank(rest_.front())) rest_.remove_prefix(1);
  }
  std::string_view name() {
    std::size_t n = 0;
    if (!rest_.empty() && name_start(rest_.front()))
      while (n < rest_.size() && name_char(rest_[n])) ++n;
    const auto out = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return out;
  }
  const char* labels(sample& out, bool keep) {
    for (;;) {
      skip();
      if (rest_.empty()) return "labels do not end";
      if (rest_.front() == '}') {
        rest_.remove_prefix(1);
        return nullptr;
      }
      label l;
      l.name = name();
      skip();
      if (l.name.empty() || rest_.empty() || rest_.front() != '=') return "a label without name or value";
      rest_.remove_prefix(1);
      skip();
      if (rest_.empty() || rest_.front() != '"') return "a label value without quotes";
      rest_.remove_prefix(1);
      if (!quoted(l.value, keep)) return "a label value does not end";
      if (keep) out.labels.push_back(std::move(l));
      skip();
      if (rest_.empty() || rest_.front() == '}') continue;
      if (rest_.front() != ',') return "labels without a comma between them";
      rest_.remove_prefix(1);
    }
  }
  bool quoted(std::string& out, bool keep) {
    for (;;) {
      const auto stop = rest_.find_first_of("\"\\");
      if (stop == std::string_view::npos) return false;
      if (keep) out += rest_.substr(0, stop);
      const bool ends = rest_[stop] == '"';
      rest_.remove_prefix(stop + 1);
      if (ends) return true;
      if (rest_.empty()) return false;
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (!keep) continue;
      if (c != 'n' && c != '"' && c != '\\') out += '\\';  // no escape after all
      out += c == 'n' ? '\n' : c;
    }
  }
  std::string_view word() {
    skip();
    const auto out = rest_.substr(0, rest_.find_first_of(" \t"));
    rest_.remove_prefix(out.size());
    return out;
  }
  const char* value(double& out) {
    const auto text = word();
    if (text.empty()) return "no value";
    const auto read = parse_number(text);
    if (!read) return "the value is not a number";
    out = *read;
    return nullptr;
  }
  /// A timestamp and an exemplar may follow. Neither is of interest, but anything else means that the line is garbled.
  const char* tail() {
    auto next = word();
    if (!next.empty() && next.front() != '#') {
      if (!parse_number(next)) return "what follows the value is not a timestamp";
      next = word();
    }
    return next.empty() || next.front() == '#' ? nullptr : "something follows the timestamp";
  }

  std::string_view rest_;
};

std::size_t name_length(std::string_view line) {
  return static_cast<std::size_t>(std::find_if_not(line.begin(), line.end(), name_char) - line.begin());
}

std::string_view trimmed(std::string_view line) {
  while (!line.empty() && (line.back() == '\r' || blank(line.back()))) line.remove_suffix(1);
  while (!line.empty() && blank(line.front())) line.remove_prefix(1);
  return line;
}

}  // namespace

std::string_view sample::label_value(std::string_view label_name) const {
  for (const auto& l : labels)
    if (l.name == label_name) return l.value;
  return {};
}

exposition parse_exposition(std::string_view text, std::string_view prefix) {
  exposition out;
  std::size_t number = 0;
  while (!text.empty()) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    ++number;
    line = trimmed(line);
    if (line.empty() || line.front() == '#') continue;
    sample s;
    bool wanted = false;
    const auto has_prefix = [&](std::string_view name) { return name.substr(0, prefix.size()) == prefix; };
    if (const char* problem = line_reader(line).read(s, has_prefix, wanted)) {
      if (out.bad_lines++ == 0) out.first_bad = fmt::format("line {}: {}", number, problem);
    } else if (wanted) {
      out.samples.push_back(std::move(s));
    }
  }
  return out;
}

std::string exposition_reader::line(std::string_view text) {
  ++lines_;
  if (lines_ > limits_.lines) return fmt::format("more than {} lines", limits_.lines);
  if (text.size() > limits_.line_bytes) return fmt::format("line {} is longer than {} bytes", lines_, limits_.line_bytes);
  text = trimmed(text);
  if (text.empty()) return {};
  if (eof_) return fmt::format("line {} follows # EOF", lines_);
  if (text.front() == '#') {
    eof_ = text == "# EOF";
    return {};
  }
  // Most lines are of metrics that nobody reads.
  if (!wanted_(text.substr(0, name_length(text)))) return {};
  sample s;
  bool wanted = false;
  const char* problem = line_reader(text).read(s, wanted_, wanted);
  if (problem) return fmt::format("{}: line {}: {}", s.name, lines_, problem);
  if (++samples_ > limits_.samples) return fmt::format("more than {} samples of the metrics that are read", limits_.samples);
  if (s.labels.size() > limits_.labels) return fmt::format("{}: line {}: more than {} labels", s.name, lines_, limits_.labels);
  for (const auto& l : s.labels)
    if (l.value.size() > limits_.label_bytes)
      return fmt::format("{}: line {}: a label value of more than {} bytes", s.name, lines_, limits_.label_bytes);
  return into_(s);
}

std::string exposition_reader::feed(std::string_view bytes) {
  bytes_ += bytes.size();
  if (bytes_ > limits_.bytes) return fmt::format("larger than {} bytes", limits_.bytes);
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    const auto part = bytes.substr(0, end);
    if (begun_.size() + part.size() > limits_.line_bytes)
      return fmt::format("line {} is longer than {} bytes", lines_ + 1, limits_.line_bytes);
    if (end == std::string_view::npos) {
      begun_ += part;
      return {};
    }
    bytes.remove_prefix(end + 1);
    std::string problem;
    if (begun_.empty()) {
      problem = line(part);
    } else {
      begun_ += part;
      problem = line(begun_);
      begun_.clear();
    }
    if (!problem.empty()) return problem;
  }
  return {};
}

std::string exposition_reader::finish() {
  if (begun_.empty()) return {};
  if (trimmed(begun_) == "# EOF") return line(begun_);
  return fmt::format("the text ends within line {}", lines_ + 1);
}

}  // namespace inferno::net::metrics
