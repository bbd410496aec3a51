#pragma once
// An emulated cluster and a plain HTTP client of its API.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <memory>

#include "net/http/client.hpp"
#include "net/kube/client.hpp"
#include "testbed/cluster/cluster.hpp"
#include "testbed/cluster/json_tools.hpp"
#include "tests/support/net_io.hpp"

namespace inferno::testbed {

namespace asio = boost::asio;
using namespace std::chrono_literals;

struct api_reply {
  int status = 0;
  std::string text;
  std::string type;
  json::object object;  ///< {} when the body is none

  std::string at(std::initializer_list<std::string_view> path) const { return text_at(object, path); }
  long number(std::initializer_list<std::string_view> path) const { return integer_at(object, path, -1); }
};

/// The answer is the Status object of a failure.
inline void expect_status(const api_reply& r, int code, const std::string& reason, const std::string& message) {
  EXPECT_EQ(r.status, code) << r.text;
  EXPECT_EQ(r.at({"kind"}), "Status");
  EXPECT_EQ(r.at({"status"}), "Failure");
  EXPECT_EQ(r.at({"reason"}), reason);
  EXPECT_EQ(r.number({"code"}), code);
  EXPECT_NE(r.at({"message"}).find(message), std::string::npos) << r.text;
}

inline const std::string strategic = "application/strategic-merge-patch+json";
inline const std::string as_table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

class cluster_test : public ::testing::Test {
 protected:
  cluster_test() {
    cluster_config config;
    config.start_delay = 20ms;
    start(std::move(config));
  }

  void start(cluster_config config) {
    config.seed = 1;
    auto started = emulated_cluster::start(std::move(config));
    if (!started) throw std::runtime_error(started.error());
    cluster = std::move(*started);
  }

  api_reply call(std::string method, const std::string& path, std::string body = {}, std::string type = "application/json",
                 std::string accept = {}) {
    net::http_request r;
    r.method = std::move(method);
    r.url = cluster->url() + path;
    r.body = std::move(body);
    if (!r.body.empty()) r.content_type = std::move(type);
    if (!accept.empty()) r.headers.push_back({"Accept", std::move(accept)});
    const auto got = test::run(context, http.request(std::move(r)));
    if (!got) throw std::runtime_error(got.error().message);
    api_reply out{got->status, got->body, std::string(got->header("Content-Type")), {}};
    boost::system::error_code ec;
    auto v = json::parse(got->body, ec);
    if (!ec && v.is_object()) out.object = std::move(v.get_object());
    return out;
  }
  api_reply get(const std::string& path) { return call("GET", path); }
  api_reply post(const std::string& path, const json::value& body) { return call("POST", path, json::serialize(body)); }
  api_reply put(const std::string& path, const json::value& body) { return call("PUT", path, json::serialize(body)); }
  api_reply merge(const std::string& path, const std::string& body) {
    return call("PATCH", path, body, "application/merge-patch+json");
  }

  /// A ConfigMap in "default".
  static json::object config_map(const std::string& name, const json::object& labels = {}, const json::object& data = {}) {
    return {{"apiVersion", "v1"},
            {"kind", "ConfigMap"},
            {"metadata", json::object{{"name", name}, {"labels", labels}}},
            {"data", data}};
  }
  void apply(const std::string& yaml) {
    const auto done = cluster->apply(yaml);
    if (!done) throw std::runtime_error(done.error());
  }
  std::vector<std::string> names(const api_reply& list) {
    std::vector<std::string> out;
    for (const auto& item : list.object.at("items").as_array()) out.push_back(text_at(item.as_object(), {"metadata", "name"}));
    return out;
  }
  /// Asks again until `done` holds of the answer; false after 20 s.
  template <class Condition>
  bool eventually(const std::string& path, Condition done) {
    const auto limit = std::chrono::steady_clock::now() + 20s;
    while (!done(get(path)))
      if (std::chrono::steady_clock::now() > limit) return false;
    return true;
  }

  asio::io_context context;
  net::http_client http{context.get_executor(), {}};
  std::unique_ptr<emulated_cluster> cluster;
};

inline const std::string config_maps = "/api/v1/namespaces/default/configmaps";

}  // namespace inferno::testbed
