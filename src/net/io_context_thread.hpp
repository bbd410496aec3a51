#pragma once
// The I/O thread: an io_context and the thread that runs it.
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <thread>

namespace inferno::net {

/// One thread runs the context, so whatever lives on its executor needs no locks. stop() joins; safe to call twice.
class io_context_thread {
 public:
  io_context_thread() : guard_(boost::asio::make_work_guard(context_)), thread_([this] { context_.run(); }) {}
  ~io_context_thread() { stop(); }
  io_context_thread(const io_context_thread&) = delete;
  io_context_thread& operator=(const io_context_thread&) = delete;
  boost::asio::io_context& context() { return context_; }
  boost::asio::io_context::executor_type executor() { return context_.get_executor(); }
  void stop() {
    guard_.reset();
    context_.stop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_;
  std::thread thread_;
};

}  // namespace inferno::net
