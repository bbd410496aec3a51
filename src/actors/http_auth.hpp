#pragma once
// Who may read the controller's endpoints: the API server says, as it does for its own.
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "net/kube/client.hpp"

namespace inferno::actors {

/// Decides about requests by their bearer token: a TokenReview says whose it is, a SubjectAccessReview whether he may do this.
/// What was decided holds for a time, so that a Prometheus that scrapes often does not ask often; only digests of tokens are
/// kept. Use from the executor of the client.
class http_auth {
 public:
  using clock = std::chrono::steady_clock;
  struct settings {
    std::chrono::seconds allowed_for{60};
    std::chrono::seconds refused_for{10};
    std::size_t most_entries = 1024;
    std::function<clock::time_point()> now = clock::now;
  };
  http_auth(std::shared_ptr<net::kube::client> api, settings s);
  explicit http_auth(std::shared_ptr<net::kube::client> api) : http_auth(std::move(api), settings{}) {}

  struct verdict {
    int status = 200;     ///< else 401 (no token, or nobody's), 403 (somebody who may not), 503 (the API server cannot be asked)
    std::string problem;  ///< for the answer's body
  };
  /// `authorization` is the header's value; `verb` in lower case as in RBAC's rules on nonResourceURLs.
  boost::asio::awaitable<verdict> check(std::string authorization, std::string verb, std::string path);

 private:
  struct entry {
    verdict what;
    clock::time_point until;
  };
  boost::asio::awaitable<verdict> ask(std::string token, std::string verb, std::string path);
  void remember(const std::string& key, const verdict& v);

  std::shared_ptr<net::kube::client> api_;
  settings settings_;
  std::map<std::string, entry> known_;
};

}  // namespace inferno::actors
