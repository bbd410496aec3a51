#include "model/codec.hpp"

#include <boost/json/value.hpp>
#include <cmath>

namespace inferno::model {

std::optional<double> number_in_json(const boost::json::value& v) {
  if (v.is_string()) return parse_number(std::string_view(v.get_string()));
  if (!v.is_number()) return std::nullopt;
  const double x = v.is_double()  ? v.get_double()
                   : v.is_int64() ? static_cast<double>(v.get_int64())
                                  : static_cast<double>(v.get_uint64());
  if (!std::isfinite(x)) return std::nullopt;
  return x == 0 ? 0 : x;
}

}  // namespace inferno::model
