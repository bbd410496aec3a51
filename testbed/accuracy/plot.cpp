#include "testbed/accuracy/plot.hpp"

#include <fmt/format.h>

#include "testbed/accuracy/servers.hpp"

namespace inferno::testbed {
namespace {

constexpr double width = 640, height = 360, left = 64, right = 16, top = 32, bottom = 48;
constexpr const char* colours[] = {"#1f5fa8", "#b4532a", "#3b7d3b"};

class canvas {
 public:
  explicit canvas(const plot& p) : p_(p) {
    out_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        "<clipPath id=\"area\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>\n",
        width, height, left, top, width - left - right, height - top - bottom);
    text(width / 2, 18, "middle", p.title);
    text(width / 2, height - 10, "middle", p.x_label);
    text(8, top - 12, "start", p.y_label);
  }

  void axes() {
    constexpr int steps = 5;
    for (int i = 0; i <= steps; ++i) {
      const double share = static_cast<double>(i) / steps;
      out_ += fmt::format("<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"#dddddd\"/>\n", left, y(share * p_.y_most), width - right);
      text(left - 6, y(share * p_.y_most) + 4, "end", fmt::format("{:.4g}", share * p_.y_most));
      text(x(share * p_.x_most), height - bottom + 18, "middle", fmt::format("{:.3g}", share * p_.x_most));
    }
    out_ += fmt::format("<path d=\"M{:.1f} {:.1f}V{:.1f}H{:.1f}\" stroke=\"black\" fill=\"none\"/>\n", left, top, height - bottom,
                        width - right);
  }

  void draw(const plot::curve& c) {
    const auto* colour = next_colour();
    std::string path;
    for (const auto& [px, py] : c.points)
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x(px), y(std::min(py, 4 * p_.y_most)));
    const char* dash = c.dashed ? " stroke-dasharray=\"6 4\"" : "";
    out_ += fmt::format("<path d=\"{}\" stroke=\"{}\" fill=\"none\" stroke-width=\"2\"{} clip-path=\"url(#area)\"/>\n", path,
                        colour, dash);
    legend(
        fmt::format("<path d=\"M{:.1f} {:.1f}h24\" stroke=\"{}\" stroke-width=\"2\"{}/>\n", left + 12, legend_y(), colour, dash),
        c.label);
  }

  void draw(const plot::dots& d) {
    const auto dot = [&](double cx, double cy) {
      return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" stroke=\"black\" fill=\"{}\"/>\n", cx, cy,
                         d.filled ? "black" : "white");
    };
    for (const auto& [px, py] : d.points)
      if (py <= p_.y_most) out_ += dot(x(px), y(py));
    legend(dot(left + 24, legend_y()), d.label);
  }

  std::string end() { return out_ + "</svg>\n"; }

 private:
  double x(double v) const { return left + v / p_.x_most * (width - left - right); }
  double y(double v) const { return height - bottom - v / p_.y_most * (height - top - bottom); }
  const char* next_colour() { return colours[curves_++ % std::size(colours)]; }
  double legend_y() const { return top + 16 + 18 * entries_; }
  void text(double at_x, double at_y, const char* anchor, const std::string& what) {
    out_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", at_x, at_y, anchor, what);
  }
  void legend(const std::string& sign, const std::string& label) {
    out_ += sign;
    text(left + 44, legend_y() + 4, "start", label);
    ++entries_;
  }

  const plot& p_;
  std::string out_;
  std::size_t curves_ = 0;
  int entries_ = 0;
};

}  // namespace

std::string svg_of(const plot& p) {
  canvas c(p);
  c.axes();
  for (const auto& curve : p.curves) c.draw(curve);
  for (const auto& dots : p.measured) c.draw(dots);
  return c.end();
}

tl::expected<std::vector<plot_file>, std::string> accuracy_plots(const std::string& folder) {
  const auto t = read_measured(folder + "/llmd-bench.csv");
  if (!t) return tl::unexpected(t.error());
  const auto series = t->by("series");
  const auto at = series.find("vllm-70b sharegpt");
  if (at == series.end()) return tl::unexpected(std::string("llmd-bench.csv: no series \"vllm-70b sharegpt\""));
  const auto server = fit_llmd(*t, at->second);
  if (!server) return tl::unexpected(server.error());
  plot_points itl, ttft, p95;
  const double highest = size_replica(server->replica, {})->max_rate.per_sec();
  for (int i = 1; i <= 200; ++i) {
    const auto rate = model::req_rate::per_sec(highest * i / 200);
    const auto m = analyze(server->replica, rate);
    itl.emplace_back(rate.per_sec(), m.itl_ms);
    ttft.emplace_back(rate.per_sec(), m.ttft_ms);
    p95.emplace_back(rate.per_sec(), ttft_quantile_ms(server->replica, rate, 0.95));
  }
  const auto points = [](const std::vector<model::measurement>& rows, std::optional<double> model::measurement::*what) {
    plot_points out;
    for (const auto& r : rows) out.emplace_back(*r.rate_per_s, *(r.*what));
    return out;
  };
  plot latency{"Llama-3.1-70B on two A100: inter-token latency", "requests/s", "ITL, ms", 1.5, 125, {{"model", itl}}, {}};
  latency.measured = {{"measured, fitted to", points(server->known, &model::measurement::itl_ms), false},
                      {"measured", points(server->asked, &model::measurement::itl_ms)}};
  plot first{"Llama-3.1-70B on two A100: time to first token", "requests/s", "TTFT, ms", 1.5, 5000, {}, {}};
  first.curves = {{"model, mean", ttft}, {"model, 95th percentile", p95, true}};
  first.measured = {{"measured mean, fitted to", points(server->known, &model::measurement::ttft_ms), false},
                    {"measured mean", points(server->asked, &model::measurement::ttft_ms)}};
  return std::vector<plot_file>{{"model-itl.svg", svg_of(latency)}, {"model-ttft.svg", svg_of(first)}};
}

}  // namespace inferno::testbed
