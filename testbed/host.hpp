#pragma once
// What the emulators of a process share: an actor system and the I/O thread of their sockets.
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <memory>

#include "net/io_context_thread.hpp"

namespace inferno::testbed {

class host {
 public:
  explicit host(std::size_t threads = 2) : settings_(threads), system_(std::make_unique<caf::actor_system>(settings_)) {}
  /// Every actor must have been told to stop.
  ~host() {
    system_->await_all_actors_done();
    io_.stop();
    system_.reset();
  }
  host(const host&) = delete;
  host& operator=(const host&) = delete;
  caf::actor_system& system() { return *system_; }
  net::io_context_thread& io() { return io_; }

 private:
  struct config : caf::actor_system_config {
    explicit config(std::size_t threads) { set("scheduler.max-threads", threads); }
  };
  net::io_context_thread io_;  // outlives the actors: what is pending in it may still hold handles
  config settings_;
  std::unique_ptr<caf::actor_system> system_;
};

}  // namespace inferno::testbed
