#include "testbed/demo/view.hpp"

#include <fmt/color.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace inferno::testbed {
namespace {

constexpr double line_every_s = 5;
constexpr std::size_t history = 100;

std::string clock(double s) { return fmt::format("{}:{:02}", static_cast<int>(s) / 60, static_cast<int>(s) % 60); }

std::string ms(double x) { return x > 0 ? fmt::format("{:.1f} ms", x) : std::string("-"); }

/// Filled in proportion, red beyond the target.
std::string bar(double x, double target) {
  constexpr int width = 24;
  const double share = target > 0 ? x / target : 0;
  const int full = std::min(width, static_cast<int>(std::lround(share * width)));
  std::string cells;
  for (int i = 0; i < width; ++i) cells += i < full ? "█" : "░";
  return fmt::format(fmt::fg(share > 1 ? fmt::terminal_color::red : fmt::terminal_color::green), "{}", cells);
}

std::string spark(const std::deque<int>& values) {
  static const char* steps[] = {" ", "▂", "▄", "▆", "█"};
  std::string out;
  for (const int v : values) out += steps[std::clamp(v, 0, 4)];
  return out;
}

}  // namespace

void demo_view::header(const std::vector<std::string>& lines) {
  for (const auto& l : lines) std::puts(l.c_str());
  std::fflush(stdout);
}

void demo_view::erase() {
  if (drawn_ > 0) fmt::print("\x1b[{}A\x1b[J", drawn_);
  drawn_ = 0;
}

void demo_view::event(double elapsed_s, const std::string& what) {
  erase();
  fmt::print("{:>5}  {}\n", clock(elapsed_s), what);
  std::fflush(stdout);
}

void demo_view::frame(const demo_frame& f) {
  if (static_cast<int>(f.elapsed_s) != static_cast<int>(last_.elapsed_s)) {
    replicas_.push_back(f.ready);
    if (replicas_.size() > history) replicas_.pop_front();
  }
  last_ = f;
  if (!live_) {
    if (f.elapsed_s - last_line_s_ < line_every_s) return;
    last_line_s_ = f.elapsed_s;
    fmt::print("{:>5}  {:<14} ", clock(f.elapsed_s), f.phase);
    if (f.slo_itl_ms > 0)
      fmt::print("rate {:>5.0f}/min  ITL {:>8} (SLO {:.9g})  TTFT {:>9}  replicas {} ready, {} desired  cost {:.0f} c/h\n",
                 f.seen_per_min, ms(f.itl_ms), f.slo_itl_ms, ms(f.ttft_ms), f.ready, f.desired, f.cost);
    else
      fmt::print("replicas {} ready\n", f.ready);
    std::fflush(stdout);
    return;
  }
  erase();
  std::string out;
  const auto line = [&](const std::string& text) {
    out += text + "\n";
    ++drawn_;
  };
  line(fmt::format("┌ {} {}", clock(f.elapsed_s), f.phase));
  line(fmt::format("│ rate      {:>6.0f} sent, {:>6.0f} seen per minute", f.offered_per_min, f.seen_per_min));
  line(fmt::format("│ ITL   {} {:>9} of {:.9g} ms, predicted {}", bar(f.itl_ms, f.slo_itl_ms), ms(f.itl_ms), f.slo_itl_ms,
                   ms(f.predicted_itl_ms)));
  line(fmt::format("│ TTFT  {} {:>9} of {:.9g} ms, predicted {}", bar(f.ttft_ms, f.slo_ttft_ms), ms(f.ttft_ms), f.slo_ttft_ms,
                   ms(f.predicted_ttft_ms)));
  line(fmt::format("│ replicas  {} ready, {} current, {} desired   cost {:.0f} cents/h", f.ready, f.current, f.desired, f.cost));
  line("└ " + spark(replicas_));
  fmt::print("{}", out);
  std::fflush(stdout);
}

void demo_view::finish() { drawn_ = 0; }

}  // namespace inferno::testbed
