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

/// Decides about requests by their bearer token: a TokenReview says whose it is, a SubjectAccessReview whether the user may do
/// this. A decision holds for a time, so that a Prometheus that scrapes often does not cause reviews often; only digests of
/// tokens are kept. Reviews of tokens that were allowed before do not wait behind those of unknown ones, and what is remembered
/// of allowed tokens is not displaced by refused ones, so a client without a valid token does not hold up one that has it. Use
/// from the executor of the clients.
class http_auth {
 public:
  using clock = std::chrono::steady_clock;
  struct settings {
    std::chrono::seconds allowed_for{60};
    std::chrono::seconds refused_for{10};
    std::chrono::seconds known_for{3600};  ///< after its last review an allowed token counts as known for so long
    std::size_t most_allowed = 256;        ///< entries kept; the oldest goes first
    std::size_t most_refused = 1024;
    std::size_t most_pending = 64;  ///< reviews of unknown tokens at the same time; more are answered 503
    std::size_t most_pending_of_peer = 8;
    std::function<clock::time_point()> now = clock::now;
  };
  /// `known`: for reviews of tokens that were allowed before, with a rate limit of its own.
  http_auth(std::shared_ptr<net::kube::client> unknown, std::shared_ptr<net::kube::client> known, settings s);
  http_auth(std::shared_ptr<net::kube::client> unknown, std::shared_ptr<net::kube::client> known)
      : http_auth(std::move(unknown), std::move(known), settings{}) {}

  struct verdict {
    /// Else 401 (no token, or nobody's), 403 (a user who may not), 503 (the API server cannot be asked, or too many unknown
    /// tokens are being reviewed).
    int status = 200;
    std::string problem;  ///< for the answer's body
  };
  /// `authorization` is the header's value; `verb` in lower case as in RBAC's rules on nonResourceURLs; `peer` the client's
  /// address.
  boost::asio::awaitable<verdict> check(std::string authorization, std::string verb, std::string path, std::string peer = {});

 private:
  struct entry {
    verdict what;
    clock::time_point at;
  };
  using entries = std::map<std::string, entry>;
  class pending_review;
  static boost::asio::awaitable<verdict> ask(std::shared_ptr<net::kube::client> api, std::string token, std::string verb,
                                             std::string path);
  static void keep(entries& among, const std::string& key, entry e, std::size_t most);
  void remember(const std::string& key, const verdict& v);

  std::shared_ptr<net::kube::client> unknown_, known_;
  settings settings_;
  entries allowed_, refused_;
  struct pending_reviews {
    std::size_t number = 0;
    std::map<std::string, std::size_t> of;  ///< by peer
  };
  std::shared_ptr<pending_reviews> pending_ = std::make_shared<pending_reviews>();  ///< a review may outlive its http_auth
};

}  // namespace inferno::actors
