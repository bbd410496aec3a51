#pragma once
// vLLM's metrics of one server, and what two readings of them say about the time between.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actors/domain.hpp"
#include "net/metrics/exposition.hpp"

namespace inferno::actors {

/// The metrics that are read. Those up to `arrivals` say how many requests there are, the others how long they and their answers
/// are.
enum class counter_field : std::uint8_t {
  running,
  waiting,
  success,
  arrivals,
  prompt_sum,
  prompt_count,
  generation_sum,
  generation_count,
  itl_sum,
  itl_count,
  newer_itl_sum,
  newer_itl_count,
  ttft_sum,
  ttft_count,
  wait_sum,
  wait_count,
  started,  ///< when the server's process started, in seconds of its node's clock
  fields
};
/// The metric's name in an exposition.
std::string_view name_of(counter_field f);
/// The label of request_success_total that says why a request ended, and its value for those that were given up.
constexpr std::string_view finished_reason = "finished_reason", abort_reason = "abort";
/// nullopt: not among those that are read.
std::optional<counter_field> field_of(std::string_view metric);

/// Order of the labels does not matter.
std::uint64_t hash_of(const std::vector<net::metrics::label>& labels);

/// One reading of one server. Each field is absent or has at least one series; absent is not zero.
class server_reading {
 public:
  struct series {
    counter_field field;
    bool aborted;  ///< of `success`: requests that were given up, with the tokens they had by then
    std::uint64_t labels;
    double value;
    auto key() const { return std::pair(field, labels); }
  };

  double clock_s = 0;  ///< orders the readings of a server; seconds of whichever clock the source goes by
  double wall_s = 0;   ///< wall-clock time of the reading, to compare `started` with; 0 = not known

  /// Returns what is wrong with the value: "NAME is -1"; "" = it was added.
  std::string add(counter_field f, std::uint64_t labels, double value, bool aborted = false);
  /// To be called once all is added. Returns the name of a series that came twice, "" = all is well.
  std::string seal();
  bool empty() const;  ///< no vLLM metric at all
  bool has(counter_field f) const { return present_ >> static_cast<int>(f) & 1u; }
  double total(counter_field f) const;  ///< over the field's series; 0 when absent
  std::optional<double> started_s() const;
  double in_system() const { return total(counter_field::running) + total(counter_field::waiting); }
  const std::vector<series>& all() const { return all_; }
  /// Nobody asked for the field in this reading, so its absence says nothing.
  void leave_unread(counter_field f) { unread_ |= bit(f); }
  bool unread(counter_field f) const { return unread_ >> static_cast<int>(f) & 1u; }
  /// The field is known to be zero although it has no series yet.
  void assume_zero(counter_field f) { present_ |= bit(f); }
  /// Takes over the counters of `older` that this reading lacks: fields as a whole, and single series, of one engine of several
  /// for example, so that they do not count from zero when they are back. Requests and arrivals are not taken over as a whole:
  /// what they say is tied to the reading's own time.
  void keep_absent_of(const server_reading& older);

 private:
  static std::uint32_t bit(counter_field f) { return std::uint32_t{1} << static_cast<int>(f); }
  std::vector<series> all_;  ///< sorted by key once sealed
  std::uint32_t present_ = 0;
  std::uint32_t unread_ = 0;
};

/// Fills a reading from an exposition that comes in pieces; samples of other models than `model` ("" = all) are left out.
class counter_reader {
 public:
  explicit counter_reader(std::string model, net::metrics::exposition_limits limits = {});
  counter_reader(const counter_reader&) = delete;
  counter_reader& operator=(const counter_reader&) = delete;
  /// Why the exposition is refused, "" = it goes on.
  std::string feed(std::string_view bytes) { return text_.feed(bytes); }
  /// The end of the text has come. Error: nothing of vLLM in it, a value that cannot be, a series that came twice, a text that
  /// was cut, each by name.
  tl::expected<server_reading, std::string> finish();
  bool saw_eof() const { return text_.saw_eof(); }

 private:
  std::string take(const net::metrics::sample& s);
  std::string model_;
  server_reading out_;
  net::metrics::exposition_reader text_;
};

/// Families that decisions need and that `r` lacks although it shows that requests are served, comma-separated; "" = none.
/// An engine may create a counter with its first request, so an idle server without it lacks nothing.
std::string missing_in(const server_reading& r);

}  // namespace inferno::actors
