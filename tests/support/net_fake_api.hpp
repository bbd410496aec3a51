#pragma once
// A Kubernetes API of one collection, with the faults a watch must survive.
#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <deque>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "net/http/server.hpp"
#include "tests/support/net_io.hpp"

namespace inferno::test {

namespace json = boost::json;

class fake_api {
 public:
  /// What watches are told: a change, or (object = false) something else.
  struct happening {
    long version;
    std::string line;
    bool object;
  };
  struct refusal {
    int status;
    std::string retry_after;  ///< "" = no such header
  };

  explicit fake_api(asio::io_context& context) : wake_(context, std::chrono::steady_clock::time_point::max()) {
    auto started = net::http_server::start(context.get_executor(), {}, [this](net::http_exchange& x) { return serve(x); });
    if (!started) throw std::runtime_error(started.error().message);
    server_ = std::move(*started);
  }
  std::string url() const { return "http://" + server_->address(); }

  void put(const std::string& name, int value) {
    const bool known = objects.count(name) > 0;
    json::object meta{{"name", name}, {"resourceVersion", std::to_string(++version)}};
    objects[name] = json::object{{"metadata", meta}, {"value", value}};
    record(known ? "MODIFIED" : "ADDED", objects[name]);
  }
  void remove(const std::string& name) {
    auto object = objects.at(name);
    objects.erase(name);
    object["metadata"].as_object()["resourceVersion"] = std::to_string(++version);
    record("DELETED", object);
  }
  /// Tells the watches that nothing they ask for happened up to now.
  void bookmark() {
    ++version;
    say(fmt::format("{{\"type\":\"BOOKMARK\",\"object\":{{\"metadata\":{{\"resourceVersion\":\"{}\"}}}}}}\n", version));
  }
  /// Sends this to the watches that have seen all before it.
  void say(std::string line) {
    history.push_back({version, std::move(line), false});
    wake_.cancel();
  }
  /// Resets the open watches, in the middle of what they are being told.
  void cut() {
    ++cuts_;
    wake_.cancel();
  }
  /// Ends the open watches in good order.
  void end() {
    ++ends_;
    wake_.cancel();
  }
  /// New watches from before now are told 410; those that are open go on.
  void compact() { compacted_ = version; }

  std::map<std::string, json::object> objects;
  std::vector<happening> history;
  long version = 100;
  std::vector<std::string> lists;  ///< the continue tokens asked for
  std::vector<long> watches;       ///< the versions asked for
  long listed_version = 0;         ///< of the newest list
  std::deque<refusal> list_refusals, watch_refusals;
  bool expire_continue = false;  ///< the next continue token is too old
  std::size_t piece = 1u << 20;  ///< bytes in a chunk

 private:
  void record(std::string_view type, const json::object& object) {
    history.push_back({version, fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type, json::serialize(object)), true});
    wake_.cancel();
  }

  static asio::awaitable<void> answer(net::http_exchange& x, int status, std::string body,
                                      std::vector<net::http_header> more = {}) {
    return x.respond(status, "application/json", std::move(body), std::move(more));
  }
  static asio::awaitable<bool> put(net::http_exchange& x, std::string_view text) { return x.write(std::string(text)); }

  static asio::awaitable<void> refuse(net::http_exchange& x, const refusal& r) {
    std::vector<net::http_header> headers;
    if (!r.retry_after.empty()) headers.push_back({"Retry-After", r.retry_after});
    return answer(x, r.status, fmt::format("{{\"kind\":\"Status\",\"message\":\"refused {0}\",\"code\":{0}}}", r.status),
                  std::move(headers));
  }
  static bool take(std::deque<refusal>& from, refusal& out) {
    if (from.empty()) return false;
    out = from.front();
    from.pop_front();
    return true;
  }

  asio::awaitable<void> serve(net::http_exchange& x) { return x.query("watch") == "true" ? watch(x) : list(x); }

  asio::awaitable<void> list(net::http_exchange& x) {
    const auto token = x.query("continue").value_or("");
    lists.push_back(token);
    refusal no;
    if (take(list_refusals, no)) co_return co_await refuse(x, no);
    if (!token.empty() && std::exchange(expire_continue, false)) {
      no = {410, ""};
      co_return co_await refuse(x, no);
    }
    // Later pages show what the first one showed.
    std::size_t from = 0;
    if (token.empty()) {
      snapshot_.clear();
      for (const auto& [name, object] : objects) snapshot_.push_back(object);
      listed_version = version;
    } else {
      from = std::stoul(token);
    }
    const auto limit = std::stoul(x.query("limit").value_or("1000000"));
    json::array items;
    for (std::size_t i = from; i < snapshot_.size() && i < from + limit; ++i) items.push_back(snapshot_[i]);
    json::object meta;
    meta["resourceVersion"] = std::to_string(listed_version);
    if (from + limit < snapshot_.size()) meta["continue"] = std::to_string(from + limit);
    json::object page;
    page["metadata"] = std::move(meta);
    page["items"] = std::move(items);
    auto text = json::serialize(page);
    co_await answer(x, 200, std::move(text));
  }

  asio::awaitable<void> watch(net::http_exchange& x) {
    const long at = std::stol(x.query("resourceVersion").value_or("0"));
    watches.push_back(at);
    refusal no;
    if (take(watch_refusals, no)) co_return co_await refuse(x, no);
    const int cuts = cuts_, ends = ends_;
    std::size_t next = 0;
    while (next < history.size() && history[next].version <= at) ++next;
    std::string type = "application/json";
    std::vector<net::http_header> none;
    if (!co_await x.begin_stream(200, std::move(type), std::move(none))) co_return;
    if (at < compacted_) {
      co_await put(x, "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"message\":\"too old\"}}\n");
      co_return;
    }
    for (;;) {
      std::string text;
      for (; next < history.size(); ++next) text += history[next].line;
      if (cuts != cuts_) {
        co_await put(x, std::string_view(text).substr(0, text.size() / 2));
        co_await yield_turns();
        x.abort();
        co_return;
      }
      for (std::size_t i = 0; i < text.size(); i += piece)
        if (!co_await put(x, std::string_view(text).substr(i, piece))) co_return;
      if (ends != ends_) co_return;
      if (text.empty()) co_await wake_.async_wait(nothrow);
    }
  }

  asio::steady_timer wake_;
  std::vector<json::object> snapshot_;
  int cuts_ = 0;
  int ends_ = 0;
  long compacted_ = 0;
  std::unique_ptr<net::http_server> server_;
};

}  // namespace inferno::test
