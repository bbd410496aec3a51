#pragma once
// Prometheus text exposition format (0.0.4) and OpenMetrics 1.0 text, as far as samples go.
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "net/error.hpp"

namespace inferno::net::metrics {

struct label {
  std::string_view name;
  std::string value;  ///< unescaped
};
struct sample {
  std::string_view name;  ///< refers to the parsed text
  std::vector<label> labels;
  double value = 0;  ///< may be NaN, +Inf, -Inf
  std::string_view label_value(std::string_view label_name) const;
};

struct exposition {
  std::vector<sample> samples;
  std::size_t bad_lines = 0;
  std::string first_bad;  ///< line number and what is wrong with it
};

/// Parses samples whose name begins with `prefix` ("" = all). A bad line is counted and skipped: nothing else is lost.
/// Views in the result refer to `text`. Comments, HELP, TYPE, timestamps and exemplars are passed over.
exposition parse_exposition(std::string_view text, std::string_view prefix = {});

/// What one exposition may come to; one that is larger is refused as a whole.
struct exposition_limits {
  std::size_t bytes = 4u << 20;        ///< an engine's is well below 1 MiB
  std::size_t lines = 100000;          ///< comments and empty lines included
  std::size_t line_bytes = 16u << 10;  ///< of one line
  std::size_t samples = 4096;          ///< of wanted names
  std::size_t labels = 32;             ///< of a wanted sample
  std::size_t label_bytes = 1024;      ///< of one value of a wanted sample's labels
};

/// Reads an exposition that comes in pieces and keeps none of it but the begun line, so that a large one costs no memory.
/// A bad line of a wanted metric refuses the whole text; one of a metric that nobody reads is passed over.
class exposition_reader {
 public:
  using predicate = std::function<bool(std::string_view name)>;
  /// The sample is valid during the call. Returns why the text must be refused, "" = it goes on.
  using sink = std::function<std::string(const sample&)>;
  exposition_reader(predicate wanted, sink into, exposition_limits limits = {})
      : wanted_(std::move(wanted)), into_(std::move(into)), limits_(limits) {}
  /// Returns why the text is refused, "" = it goes on. After a refusal the reader is of no more use.
  std::string feed(std::string_view bytes);
  /// To be called at the end of the text. A text that ends within a line has been cut short.
  std::string finish();
  /// OpenMetrics' own end, "# EOF", has come.
  bool saw_eof() const { return eof_; }

 private:
  std::string line(std::string_view text);
  predicate wanted_;
  sink into_;
  exposition_limits limits_;
  std::string begun_;
  std::size_t bytes_ = 0, lines_ = 0, samples_ = 0;
  bool eof_ = false;
};

}  // namespace inferno::net::metrics
