#pragma once
// Numbers in JSON.
#include <boost/json/fwd.hpp>
#include <optional>

#include "model/limits.hpp"

namespace inferno::model {

/// A finite JSON number, or one in a string, as parse_number() reads it; nullopt: it is none.
std::optional<double> number_in_json(const boost::json::value&);

}  // namespace inferno::model
