#pragma once
// Latency against load, as pictures.
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

namespace inferno::testbed {

using plot_points = std::vector<std::pair<double, double>>;

/// One picture: curves and measured points over axes from 0 to `x_most` and `y_most`; what lies above is cut off.
struct plot {
  struct curve {
    std::string label;
    plot_points points;
    bool dashed = false;
  };
  struct dots {
    std::string label;
    plot_points points;
    bool filled = true;
  };
  std::string title, x_label, y_label;
  double x_most = 1, y_most = 1;
  std::vector<curve> curves;
  std::vector<dots> measured;
};

/// SVG 1.1.
std::string svg_of(const plot& p);

struct plot_file {
  std::string name;
  std::string text;
};

/// The pictures of docs/model.md: ITL and TTFT of a server of llmd-bench against its arrival rate, with what was measured.
tl::expected<std::vector<plot_file>, std::string> accuracy_plots(const std::string& folder);

}  // namespace inferno::testbed
