#pragma once
// Writing JSON values for people: numbers as they write them.
#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "model/quantities.hpp"
#include "model/solver.hpp"

namespace inferno::model {

/// Compact JSON; numbers in the shortest form that reads back the same (40, not 4E1), what is no finite number as null.
std::string write_json(const boost::json::value&);

/// The same as YAML, in blocks. Strings are quoted as in JSON.
std::string write_yaml(const boost::json::value&);

/// Requests per minute, rounded to 15 digits: rates are kept per second, and 63.2 must not come out as 63.20000000000001.
double rounded_per_min(req_rate);

boost::json::object percentiles_object(const ttft_percentiles&);
boost::json::object allocation_object(const allocation&);
boost::json::object solver_object(const solver_report&, std::optional<double> seconds);

/// Milliseconds in a table: a decimal, and below 1 ms three digits that count.
std::string shown_ms(double value);
/// An objective as it was given, with at least one decimal.
std::string shown_objective_ms(double value);

using row = std::vector<std::string>;

/// Columns as wide as they need to be; the first `text_columns` are text, the others numbers.
std::string aligned(const std::vector<row>& rows, std::size_t text_columns);

}  // namespace inferno::model
