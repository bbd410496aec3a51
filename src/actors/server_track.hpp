#pragma once
// From readings of one server to the load between them; what cannot be is not believed.
#include <optional>
#include <string>

#include "actors/pod_counters.hpp"

namespace inferno::actors {

/// Follows one server.
///
/// - A metric that is absent says nothing; when it is back, it is compared with its last value.
/// - A server has restarted when one of its counts goes down. Its counters then count from zero. Where the process' own start
///   time does not confirm it, the next reading has to: one odd reading is passed over, and the next good one covers its time
///   too.
/// - No fewer requests have arrived than were completed and are there now in addition, and those that leave without being
///   completed have been there for a while. A counter of arrivals that says otherwise is named and not used for a while; arrivals
///   are then completions and the growth of what runs and waits.
/// - A sum that goes back while its count does not is a matter of clocks; this pair says nothing for this interval.
/// - A queue shows what arrives where requests leave it unserved, of which no counter tells: by Little's law, for a server that
///   takes requests in order, those that wait have all come within the wait of the one whose turn it is. What was counted in
///   that time is compared with it: a server that has become one of many still has the queue of before.
/// - A server is not believed to have done more than it can have. Beyond `jump_limit()` the next reading has to confirm it, and
///   counts from zero that no start time explains must lie within what it had in it and twice its best pace. What is refused
///   again and again becomes the point from which further readings count, and the interval remains unknown.
class server_track {
 public:
  struct outcome {
    load_sample load;         ///< span_s = 0: no difference could be taken; completions: those of known length
    std::string problem;      ///< not empty: the reading is not believed
    bool whole_life = false;  ///< the counts are all the server has ever served
  };
  /// `since_s`: the server is known to be new, and took no request before that time of the readings' clock; used for the first
  /// reading only. A reading that is not newer than the last one says nothing new.
  outcome observe(server_reading now, std::optional<double> since_s = {});

 private:
  struct growth {
    double amount = 0;
    double from_zero = 0;  ///< of it, in series that were not there before
    double aborted = 0;    ///< of it, requests that were given up
  };
  /// Tokens of a request when they were last measured.
  struct mean_length {
    std::optional<double> tokens;
    bool was_strange = false;  ///< the last interval's were not believed at once
    void note(const std::optional<growth>& sum, const std::optional<growth>& count, double aborted = 0);
  };
  /// Why a difference cannot be, or at least not be believed at once; "" = it can.
  struct objection {
    std::string why;
    bool may_be_confirmed = false;
  };
  /// How the counter of arrivals compares with what is known otherwise, over recent readings.
  struct arrival_check {
    double ahead = 0;     ///< arrivals that were counted and neither completed nor are there
    double present = 0;   ///< request-seconds of what was running and waiting
    double short_by = 0;  ///< of what was completed, without having been counted
    double missing = 0;   ///< arrivals since the last reading that the counter does not have
    bool ill() const;
  };
  std::optional<growth> grown(const server_reading& now, counter_field f, bool restarted) const;
  arrival_check check_arrivals(const server_reading& now, bool restarted, const load_sample& d, double counted) const;
  bool uses_arrivals(const server_reading& now, bool restarted) const;
  void measure(const server_reading& now, bool restarted, load_sample& out);
  void lengths(const server_reading& now, bool restarted, load_sample& out);
  objection impossible(const server_reading& now, bool restarted, const load_sample& d) const;
  objection unusual(const server_reading& now, const load_sample& d) const;
  objection odd_tokens(const load_sample& d) const;
  double balance(const server_reading& now, bool restarted, const load_sample& d) const;
  double unseen_rate(const server_reading& now, bool restarted, const load_sample& d);
  double jump_limit(const server_reading& now, double span_s) const;
  std::optional<outcome> birth(server_reading& now, double since_s, outcome out);
  outcome restart(server_reading now, const std::string& fallen, outcome out);
  outcome believe(server_reading now, bool restarted, outcome out);
  outcome doubt(server_reading now, std::string why, outcome out);
  void rebase(server_reading now);
  double unfinished_by(const server_reading& now, const load_sample& d) const;

  std::optional<server_reading> base_;     ///< what the next reading is compared with
  bool trusted_ = false;                   ///< a difference from it or to it was believed
  std::optional<server_reading> doubted_;  ///< a reading that the next one has to confirm
  load_sample gauges_;                     ///< of the last reading
  std::string why_;                        ///< it has to
  int doubts_ = 0;                         ///< in a row
  double pace_ = 0;                        ///< the most requests a second it was seen to complete
  double first_pace_ = 0;                  ///< the most first tokens a second
  double tokens_pace_ = 0;                 ///< later tokens a second, when there last were any
  double itl_s_ = 0;                       ///< their mean latency, of late or when it was lower
  mean_length in_, out_;
  double turns_ = 0, delays_s_ = 0;     ///< recent first tokens and how long they took, while a queue stood
  double counted_ = 0, counted_s_ = 0;  ///< arrivals in about the time for which those that wait have waited, and that time
  double two_until_s_ = 0;              ///< until when restarts are not believed, because two processes answer in turn
  double unfinished_ = 0;               ///< requests with lengths since the number of completions moved last, up to base_
  double unfinished_now_ = 0;           ///< the same up to the newest reading
  arrival_check arrivals_;
  double no_arrivals_until_s_ = 0;  ///< until when the counter of arrivals is not used
  double owed_ = 0;                 ///< <= 0: requests that have left without being done, or never were there
};

}  // namespace inferno::actors
