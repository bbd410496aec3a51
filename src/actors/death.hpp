#pragma once
// Why an actor dies: an exception's text becomes the reason that whoever monitors it gets.
#include <caf/error.hpp>
#include <caf/sec.hpp>
#include <exception>

namespace inferno::actors {

template <class Self>
void keep_reason_of_death(Self self) {
  self->set_exception_handler([](std::exception_ptr& thrown) -> caf::error {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& e) {
      return caf::make_error(caf::sec::runtime_error, e.what());
    } catch (...) {
      return caf::make_error(caf::sec::runtime_error, "an exception of unknown type");
    }
  });
}

}  // namespace inferno::actors
