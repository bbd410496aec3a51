#pragma once
// JSON from outside: numbers, and fields that are given twice.
#include <boost/json/fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "model/limits.hpp"

namespace inferno::model {

/// A finite JSON number, or one in a string, as parse_number() reads it; nullopt: it is none.
std::optional<double> number_in_json(const boost::json::value&);

/// The path of the first field that its object has already, as `serverData.servers[2].model`: a parser keeps the last value only,
/// and the others are lost. nullopt: there is none, or `text` is not JSON of at most 32 levels.
std::optional<std::string> duplicate_field(std::string_view text);

}  // namespace inferno::model
