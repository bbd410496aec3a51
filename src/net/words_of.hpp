#pragma once
// What an exception says.
#include <exception>
#include <string>

namespace inferno::net {

/// For a message; never empty. nullptr is none and gives "".
inline std::string words_of(const std::exception_ptr& thrown) {
  if (!thrown) return {};
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& e) {
    const std::string what = e.what();
    return what.empty() ? "an exception without a text" : what;
  } catch (...) {
    return "an unknown exception";
  }
}

}  // namespace inferno::net
