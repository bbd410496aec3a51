#include "actors/server_track.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "actors/clocks.hpp"

namespace inferno::actors {
namespace {

using field = counter_field;

constexpr double stale_s = 300;         ///< an older reading is nothing to compare with
constexpr double start_slack_s = 5;     ///< between the clocks of two nodes
constexpr double same_start_s = 1;      ///< by which a process' start time may wander
constexpr double another_start_s = 60;  ///< by which it goes back only when it is another process'
constexpr double distrust_s = 600;      ///< in which a server whose start time went back is not believed to restart
constexpr int most_doubts = 4;          ///< in a row, before what is read is taken for a new beginning
constexpr double recent_turns_s = 15;   ///< in which first tokens fade to a third
constexpr double least_wait_s = 3;      ///< arrivals are counted at least over about so long
constexpr double least_turns = 2;       ///< first tokens, or their delay is not known
constexpr double clump = 64;            ///< completions that are always possible
constexpr double any_pace = 16;         ///< completions a second that are always possible
constexpr double fastest_pace = 2000;   ///< completions a second that no server reaches
constexpr double most_running = 65536;  ///< requests at once; a larger batch limit is no valid one
constexpr double owed_s = 30;           ///< in which what is owed fades to a third
constexpr double short_s = 300;         ///< in which what an arrival counter lacks fades to a third
constexpr double most_short = 16;       ///< requests that it may lack
constexpr double most_unfinished = 8;   ///< requests whose lengths are known and that are not completed
constexpr double least_stay_s = 1;      ///< that a request spends in a server before it leaves without being completed
constexpr double much_faster = 4;       ///< times the mean latency of tokens
constexpr double slow_for_s = 60;       ///< for so long a server is slow until that is what is usual
constexpr double much_longer = 16;      ///< times the mean length before
constexpr double usual_tokens = 256;    ///< a length below is not compared with
constexpr double most_tokens = 1e7;     ///< of a request
constexpr double most_tokens_a_step = 32;

constexpr std::array counts{field::success,   field::arrivals,        field::prompt_count, field::generation_count,
                            field::itl_count, field::newer_itl_count, field::ttft_count,   field::wait_count};

/// The name of a count that is lower in `now`; "" = none.
std::string fallen_since(const server_reading& before, const server_reading& now) {
  auto b = before.all().begin();
  for (const auto& s : now.all()) {
    if (std::find(counts.begin(), counts.end(), s.field) == counts.end()) continue;
    while (b != before.all().end() && b->key() < s.key()) ++b;
    if (b != before.all().end() && b->key() == s.key() && s.value < b->value)
      return fmt::format("{} went from {} to {}", name_of(s.field), b->value, s.value);
  }
  return {};
}

/// The process' own word on whether `now` is of a later one; nullopt = it says nothing.
std::optional<bool> started_anew(const server_reading& before, const server_reading& now) {
  const auto a = before.started_s(), b = now.started_s();
  if (!a || !b) return std::nullopt;
  return *b > *a + same_start_s;
}

/// No process starts before the one that was there: two answer at one address, each at times.
bool of_another(const server_reading& before, const server_reading& now) {
  const auto a = before.started_s(), b = now.started_s();
  return a && b && *b < *a - another_start_s;
}

}  // namespace

std::optional<server_track::growth> server_track::grown(const server_reading& now, field f, bool restarted) const {
  if (!now.has(f)) return std::nullopt;
  // Before the first request there may be no histograms.
  const bool nothing_before = f > field::arrivals && base_->has(field::success) && base_->total(field::success) == 0;
  if (!restarted && !base_->has(f) && (!nothing_before || base_->unread(f))) return std::nullopt;
  growth out;
  auto b = base_->all().begin();
  const auto end = base_->all().end();
  for (const auto& s : now.all()) {
    if (s.field != f) continue;
    while (b != end && b->key() < s.key()) ++b;
    const bool known = !restarted && b != end && b->key() == s.key();
    out.amount += known ? s.value - b->value : s.value;
    if (!known) out.from_zero += s.value;
    if (s.aborted) out.aborted += known ? s.value - b->value : s.value;
  }
  return out;
}

/// The mean is of those requests that the histograms have seen in between, whichever these are. Requests that have become many
/// times longer have to be so for a second interval. Of `aborted` among them only the tokens are known that they had by then,
/// which is not what they would have had: others' tokens are theirs too, up to twice as many. Where most were given up the mean
/// before is more to go by.
void server_track::mean_length::note(const std::optional<growth>& sum, const std::optional<growth>& count, double aborted) {
  if (!sum || !count || count->amount <= 0) return;
  const double half = count->amount / 2;
  if (aborted > half && tokens) return;
  const double mean = sum->amount / (count->amount - std::clamp(aborted, 0.0, half));
  const bool strange = tokens && mean > much_longer * std::max(*tokens, usual_tokens);
  const bool believed = mean >= 0 && mean <= most_tokens && (!strange || was_strange);
  was_strange = strange;
  if (believed) tokens = mean;
}

void server_track::lengths(const server_reading& now, bool restarted, load_sample& out) {
  in_.note(grown(now, field::prompt_sum, restarted), grown(now, field::prompt_count, restarted));
  // Each token of an answer but the first is a latency between two tokens too, or a few are where tokens are speculated.
  const double steps = std::max(now.total(field::itl_count), now.total(field::newer_itl_count));
  const bool possible =
      steps <= 0 || now.total(field::generation_sum) <= most_tokens_a_step * (steps + now.total(field::generation_count));
  const auto ended = grown(now, field::success, restarted), measured = grown(now, field::generation_count, restarted);
  const double aborted = ended ? ended->aborted : 0;
  // Engines may leave those that were given up out of the histograms.
  const bool of_all = measured && measured->amount > out.completions - aborted / 2;
  // An abort while no request waits is the client's choice, not a sign of overload.
  const bool in_vain = now.total(field::waiting) > 0 || (!restarted && base_->total(field::waiting) > 0);
  if (possible) out_.note(grown(now, field::generation_sum, restarted), measured, of_all && in_vain ? aborted : 0);
  const auto mean_in = in_.tokens, mean_out = out_.tokens;
  // Completions of unknown length would make the others look shorter.
  if (!mean_in || !mean_out) out.completions = 0;
  out.in_tokens = mean_in.value_or(0) * out.completions;
  out.out_tokens = mean_out.value_or(0) * out.completions;
  const double made = out.itl_count + out.ttft_count;
  if (out.completions <= 0 || aborted <= 0 || of_all || in_vain || made <= 0) return;
  // In no histogram: they had what was made beside the others' tokens.
  const double others = *mean_out * (out.completions - aborted);
  out.out_tokens = others + std::clamp(made - others, 0.0, *mean_out * aborted);
}

/// What must have arrived for as many to be done and in the server, less what has left it unseen. A gauge that only wavers owes
/// with each fall what it claims with the next rise; requests that are gone for good are forgiven.
double server_track::balance(const server_reading& now, bool restarted, const load_sample& d) const {
  if (restarted) return d.completions + now.in_system();
  return d.completions + now.in_system() - base_->in_system() + owed_ * std::exp(-d.span_s / owed_s);
}

/// The longer of the last delays and those before: while a queue grows they lag behind.
double server_track::unseen_rate(const server_reading& now, bool restarted, const load_sample& d) {
  const double least = restarted ? 0 : std::min(base_->total(field::waiting), now.total(field::waiting));
  if (least <= 0) {
    turns_ = delays_s_ = counted_ = counted_s_ = 0;
    return 0;
  }
  const double kept = std::exp(-d.span_s / recent_turns_s);
  turns_ = turns_ * kept + d.ttft_count;
  delays_s_ = delays_s_ * kept + d.ttft_sum_s;
  const double last_s = d.ttft_count > 0 ? d.ttft_sum_s / d.ttft_count : 0;
  const double wait_s = turns_ > 0 ? std::max(delays_s_ / turns_, last_s) : 0;
  const double still = std::exp(-d.span_s / std::max(wait_s, least_wait_s));
  counted_ = counted_ * still + d.arrivals;
  counted_s_ = counted_s_ * still + d.span_s;
  if (turns_ < least_turns || wait_s <= 0) return 0;
  return std::max(0.0, least / wait_s - counted_ / counted_s_);
}

bool server_track::uses_arrivals(const server_reading& now, bool restarted) const {
  return now.clock_s >= no_arrivals_until_s_ && grown(now, field::arrivals, restarted);
}

/// Counter and gauges are not read at the same instant: what one is ahead by makes up for what it lags behind by later.
server_track::arrival_check server_track::check_arrivals(const server_reading& now, bool restarted, const load_sample& d,
                                                         double counted) const {
  const double before = restarted ? 0 : base_->in_system();
  const double seen = d.completions + now.in_system() - before;
  const auto fresh = restarted ? arrival_check{} : arrivals_;
  arrival_check out;
  const double ahead = fresh.ahead * std::exp(-d.span_s / owed_s) + counted - seen;
  out.ahead = std::max(0.0, ahead);
  out.missing = std::max(0.0, -ahead);
  out.present = fresh.present * std::exp(-d.span_s / owed_s) + d.span_s * (before + now.in_system()) / 2;
  // Of a gauge that is wrong nothing need have been completed.
  out.short_by = fresh.short_by * std::exp(-d.span_s / short_s) + std::min(out.missing, d.completions);
  return out;
}

bool server_track::arrival_check::ill() const { return ahead > clump + present / least_stay_s || short_by > most_short; }

void server_track::measure(const server_reading& now, bool restarted, load_sample& out) {
  out.span_s = now.clock_s - base_->clock_s;
  out.completions = grown(now, field::success, restarted).value_or(growth{}).amount;
  out.arrivals = std::max(0.0, balance(now, restarted, out));
  if (uses_arrivals(now, restarted)) {
    const double counted = grown(now, field::arrivals, restarted)->amount;
    const auto check = check_arrivals(now, restarted, out, counted);
    if (!check.ill()) out.arrivals = counted + check.missing;
  }
  const auto pair = [&](field sum, field count, double& sum_s, double& n) {
    const auto s = grown(now, sum, restarted), c = grown(now, count, restarted);
    if (!s || !c || c->amount <= 0 || s->amount < 0) return false;
    sum_s = s->amount;
    n = c->amount;
    return true;
  };
  if (!pair(field::itl_sum, field::itl_count, out.itl_sum_s, out.itl_count))
    pair(field::newer_itl_sum, field::newer_itl_count, out.itl_sum_s, out.itl_count);
  pair(field::ttft_sum, field::ttft_count, out.ttft_sum_s, out.ttft_count);
  pair(field::wait_sum, field::wait_count, out.wait_sum_s, out.wait_count);
}

double server_track::jump_limit(const server_reading& now, double span_s) const {
  return clump + 4 * (base_->in_system() + now.in_system()) + (any_pace + 8 * pace_) * span_s;
}

server_track::objection server_track::impossible(const server_reading& now, bool restarted, const load_sample& d) const {
  const auto grew = [&](field f, double by, std::string_view why) {
    return fmt::format("{} grew by {:.6g} in {:.3g} s, {}", name_of(f), by, d.span_s, why);
  };
  if (d.completions > fastest_pace * std::max(1.0, d.span_s))
    return {grew(field::success, d.completions, "more than a server can do"), false};
  if (now.total(field::running) > most_running)
    return {fmt::format("{} is {:.6g}", name_of(field::running), now.total(field::running)), false};
  const double limit = jump_limit(now, d.span_s);
  const double growth_of_queue = std::max(0.0, now.in_system() - (restarted ? 0 : base_->in_system()));
  if (!restarted) {
    const auto success = grown(now, field::success, false);
    const double told = d.completions - (success ? success->aborted : 0);
    const double explained = 8 + base_->in_system() + now.in_system() + 2 * pace_ * d.span_s;
    if (success && success->from_zero > explained)
      return {grew(field::success, success->from_zero, "in series that were not there before"), false};
    for (const auto f : {field::prompt_count, field::generation_count}) {
      const auto observed = grown(now, f, false);
      if (observed && told > 16 + 4 * std::max(0.0, observed->amount))
        return {grew(field::success, d.completions, fmt::format("but {} by {:.6g}", name_of(f), observed->amount)), false};
    }
    if (unfinished_now_ > most_unfinished)
      return {grew(field::success, 0, fmt::format("but {} by {:.6g}", name_of(field::generation_count), unfinished_now_)), false};
  }
  // As many may well come at once, and are still there at the next reading, or done.
  const double usual_growth = clump + 4 * base_->in_system();
  const bool counted = uses_arrivals(now, restarted) && grown(now, field::arrivals, restarted)->amount + clump >= growth_of_queue;
  if (growth_of_queue > usual_growth && !counted)
    return {
        fmt::format("requests running and waiting grew by {:.6g} in {:.3g} s, far more than before", growth_of_queue, d.span_s),
        true};
  if (d.completions > limit) return {grew(field::success, d.completions, "far more than before"), true};
  return {};
}

/// Far more than it was ever seen to complete, and than was in it: one reading alone may be odd.
server_track::objection server_track::unusual(const server_reading& now, const load_sample& d) const {
  if (pace_ <= 0) return {};
  const double usual = 8 + 2 * (base_->in_system() + now.in_system()) + (1 + 4 * pace_) * d.span_s;
  if (d.completions <= usual) return {};
  return {fmt::format("{} grew by {:.6g} in {:.3g} s, far more than before", name_of(field::success), d.completions, d.span_s),
          true};
}

/// Tokens that are made faster all at once, or far more first tokens than ever: what is in flight is told by these counts, and
/// one reading alone may be odd.
server_track::objection server_track::odd_tokens(const load_sample& d) const {
  if (d.itl_count > clump && itl_s_ > 0) {
    const double mean_s = d.itl_sum_s / d.itl_count;
    if (mean_s * much_faster < itl_s_ && d.itl_count > 2 * tokens_pace_ * d.span_s)
      return {fmt::format("{} grew by {:.6g} in {:.3g} s, a mean of {:.3g} ms after {:.3g} ms", name_of(field::itl_count),
                          d.itl_count, d.span_s, 1000 * mean_s, 1000 * itl_s_),
              true};
  }
  const double most =
      clump + 4 * base_->in_system() + std::max(d.arrivals, d.completions) + (any_pace + 8 * first_pace_) * d.span_s;
  if (d.ttft_count > most)
    return {
        fmt::format("{} grew by {:.6g} in {:.3g} s, far more than before", name_of(field::ttft_count), d.ttft_count, d.span_s),
        true};
  return {};
}

/// Requests whose lengths were observed while the number of completions stood still.
double server_track::unfinished_by(const server_reading& now, const load_sample& d) const {
  // Lengths that were not read with the completions cover another time.
  if (d.completions > 0 || base_->unread(field::prompt_count) || base_->unread(field::generation_count)) return 0;
  const auto in = grown(now, field::prompt_count, false), made = grown(now, field::generation_count, false);
  return unfinished_ + (in && made ? std::min(in->amount, made->amount) : 0);
}

void server_track::rebase(server_reading now) {
  if (base_) now.keep_absent_of(*base_);
  base_ = std::move(now);
  unfinished_ = unfinished_now_;
  doubted_.reset();
  doubts_ = 0;
}

server_track::outcome server_track::believe(server_reading now, bool restarted, outcome out) {
  const double span_s = out.load.span_s;
  if (span_s >= 1) {
    pace_ = std::max(pace_, out.load.completions / span_s);
    first_pace_ = std::max(first_pace_, out.load.ttft_count / span_s);
  }
  if (out.load.itl_count > 0 && span_s > 0) {
    tokens_pace_ = out.load.itl_count / span_s;
    // After a stall it is compared with what was before: slowness is only learnt slowly.
    const double mean_s = out.load.itl_sum_s / out.load.itl_count;
    itl_s_ = itl_s_ <= 0 ? mean_s : std::min(mean_s, itl_s_ + (mean_s - itl_s_) * -std::expm1(-span_s / slow_for_s));
  }
  // A first reading may have been odd: what it had in it is nobody's debt.
  owed_ = trusted_ ? std::min(0.0, balance(now, restarted, out.load)) : 0;
  if (const auto counted = grown(now, field::arrivals, restarted)) {
    const auto check = check_arrivals(now, restarted, out.load, counted->amount);
    if (check.ill()) no_arrivals_until_s_ = now.clock_s + distrust_s;
    // What has been judged is done with; the counter begins anew.
    arrivals_ = trusted_ && !check.ill() ? check : arrival_check{};
    arrivals_.present = check.present;
  } else {
    arrivals_ = {};
  }
  if (now.clock_s < no_arrivals_until_s_) out.load.ill = name_of(field::arrivals);
  lengths(now, restarted, out.load);
  out.load.unseen_rate = unseen_rate(now, restarted, out.load);
  gauges_ = {};
  gauges_.running = out.load.running;
  gauges_.waiting = out.load.waiting;
  gauges_.unseen_rate = out.load.unseen_rate;
  gauges_.ill = out.load.ill;
  if (restarted) base_.reset();
  rebase(std::move(now));
  trusted_ = true;
  return out;
}

/// The reading is left alone until the next one: what it says is then told from two sides.
server_track::outcome server_track::doubt(server_reading now, std::string why, outcome out) {
  out.load = gauges_;
  out.problem = why_ = std::move(why);
  // A first reading alone is no reason to doubt the second.
  if (trusted_ && ++doubts_ < most_doubts) {
    doubted_ = std::move(now);
    return out;
  }
  base_.reset();
  rebase(std::move(now));
  trusted_ = false;
  return out;
}

server_track::outcome server_track::restart(server_reading now, const std::string& fallen, outcome out) {
  if (now.clock_s < two_until_s_)
    return doubt(std::move(now), fallen + "; two servers with different start times answer at this address", std::move(out));
  const auto anew = started_anew(*base_, now);
  if (anew == false) return doubt(std::move(now), fallen + " although the server has not restarted", std::move(out));
  const bool confirmed = doubted_ && fallen_since(*doubted_, now).empty() && !fallen_since(*base_, *doubted_).empty();
  measure(now, true, out.load);
  unfinished_now_ = 0;
  const double span_s = out.load.span_s, in_system = base_->in_system() + now.in_system();
  const double most = anew ? clump + 8 * in_system + 8 * pace_ * span_s : 8 + in_system + 2 * pace_ * span_s;
  if (!anew && !confirmed) return doubt(std::move(now), fallen, std::move(out));
  if (out.load.completions > most)
    return doubt(std::move(now), fallen + ", which is more than it can have done since", std::move(out));
  if (auto no = impossible(now, true, out.load); !no.why.empty()) return doubt(std::move(now), std::move(no.why), std::move(out));
  return believe(std::move(now), true, std::move(out));
}

/// The first reading of a server that is known to be new.
std::optional<server_track::outcome> server_track::birth(server_reading& now, double since_s, outcome out) {
  if (since_s >= now.clock_s) return std::nullopt;
  base_.emplace();
  base_->clock_s = since_s;
  measure(now, true, out.load);
  out.whole_life = true;
  if (impossible(now, true, out.load).why.empty()) return believe(std::move(now), true, std::move(out));
  base_.reset();
  return std::nullopt;
}

server_track::outcome server_track::observe(server_reading now, std::optional<double> since_s) {
  outcome out;
  out.load.running = now.total(field::running);
  out.load.waiting = now.total(field::waiting);
  out.load.missing = missing_in(now);
  // The clock of a source may have been set back; what is only a little older comes from another replica of it.
  if (base_ && now.clock_s < base_->clock_s - set_back_s) {
    base_.reset();
    doubted_.reset();
    trusted_ = false;
    two_until_s_ = no_arrivals_until_s_ = 0;
    arrivals_ = {};
  }
  if (base_ && now.clock_s <= base_->clock_s) {
    out.load = gauges_;
    return out;
  }
  if (doubted_ && now.clock_s <= doubted_->clock_s) return {gauges_, why_, false};
  if (base_ && now.clock_s - base_->clock_s > stale_s) base_.reset();
  if (out.load.missing.empty() && !now.has(field::success)) {
    // An engine may create the counter with its first request, but does not take it back.
    if (base_ && base_->total(field::success) > 0) out.load.missing = name_of(field::success);
    now.assume_zero(field::success);
  }
  if (!out.load.missing.empty()) return out;
  if (!base_) unfinished_now_ = 0;
  if (!base_ && since_s)
    if (auto born = birth(now, *since_s, out)) return std::move(*born);
  if (!base_) {
    if (out.load.running > most_running) out.load.running = 0;
    gauges_ = out.load;
    rebase(std::move(now));
    trusted_ = false;
    return out;
  }
  if (of_another(*base_, now)) two_until_s_ = now.clock_s + distrust_s;
  if (const auto fallen = fallen_since(*base_, now); !fallen.empty()) return restart(std::move(now), fallen, std::move(out));
  measure(now, false, out.load);
  unfinished_now_ = unfinished_by(now, out.load);
  auto no = impossible(now, false, out.load);
  if (no.why.empty()) no = unusual(now, out.load);
  if (no.why.empty()) no = odd_tokens(out.load);
  // The same jump seen from a second reading has been one.
  const bool confirmed = no.may_be_confirmed && doubted_ && fallen_since(*doubted_, now).empty();
  if (!no.why.empty() && !confirmed) return doubt(std::move(now), std::move(no.why), std::move(out));
  return believe(std::move(now), false, std::move(out));
}

}  // namespace inferno::actors
