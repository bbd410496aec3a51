#pragma once
// The JSON answer to an instant query of Prometheus, read as it comes.
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/error.hpp"

namespace inferno::net::metrics {

struct vector_sample {
  std::vector<std::pair<std::string, std::string>> labels;
  double time_s = 0;
  double value = 0;  ///< may be NaN or infinite
  std::string_view label(std::string_view name) const;
};

/// An answer beyond one of these is `too_large`.
struct answer_limits {
  std::size_t samples = 250'000;
  std::size_t bytes = 128u << 20;  ///< of the text, inflated
};
/// Bytes of a label's value, of those that are kept; a longer one is refused.
inline constexpr std::size_t most_label_bytes = 4096;

/// Neither the text nor the samples are kept, so an answer costs the memory of one sample, however large it is.
class answer_reader {
 public:
  using sink = std::function<void(const vector_sample&)>;
  /// `who`: whom messages name. `take` receives each sample, also of an answer that turns out to be none later. `labels`: those
  /// to keep; empty = all.
  answer_reader(std::string who, sink take, answer_limits limits = {}, std::vector<std::string> labels = {});
  ~answer_reader();
  answer_reader(const answer_reader&) = delete;
  answer_reader& operator=(const answer_reader&) = delete;

  /// After an error the rest of the answer is of no interest. What `take` throws passes through.
  result<void> feed(std::string_view bytes);
  /// The end of the answer has come. Prometheus' own errors have its errorType and message; of another body with an HTTP status
  /// from 400 on only the status counts.
  result<void> finish(int http_status);

 private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace inferno::net::metrics
