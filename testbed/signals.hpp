#pragma once
// SIGINT and SIGTERM for programs with threads.
#include <pthread.h>
#include <unistd.h>

#include <csignal>

namespace inferno::testbed {

/// Blocks both signals; construct before any thread starts, so that only wait() sees them.
class stop_signals {
 public:
  stop_signals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  /// Returns the signal that came.
  int wait() const {
    int received = 0;
    sigwait(&set_, &received);
    return received;
  }
  /// Whether one came within the time.
  bool wait_for(long milliseconds) const {
    const timespec limit{milliseconds / 1000, (milliseconds % 1000) * 1000000};
    return sigtimedwait(&set_, nullptr, &limit) > 0;
  }
  /// Makes wait() return in another thread of this process.
  static void raise() { ::kill(::getpid(), SIGTERM); }

 private:
  sigset_t set_;
};

}  // namespace inferno::testbed
