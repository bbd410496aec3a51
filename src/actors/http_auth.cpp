#include "actors/http_auth.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <optional>

#include "net/kube/json_path.hpp"

namespace inferno::actors {
namespace {

namespace json = boost::json;
namespace kube = net::kube;
namespace asio = boost::asio;

std::string digest(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned int size = 0;
  if (EVP_Digest(text.data(), text.size(), out.data(), &size, EVP_sha256(), nullptr) != 1)
    throw std::runtime_error("SHA-256 is not available");
  return {reinterpret_cast<const char*>(out.data()), size};
}

bool true_at(const json::object& o, std::initializer_list<std::string_view> path) {
  const auto* v = kube::find(o, path);
  return v && v->is_bool() && v->get_bool();
}

/// TokenReview's user in the words of a SubjectAccessReview.
json::object subject(const json::object& review, const std::string& verb, const std::string& path) {
  json::object spec{{"user", kube::text_at(review, {"status", "user", "username"})},
                    {"uid", kube::text_at(review, {"status", "user", "uid"})},
                    {"nonResourceAttributes", json::object{{"path", path}, {"verb", verb}}}};
  for (const auto* field : {"groups", "extra"})
    if (const auto* v = kube::find(review, {"status", "user", field})) spec[field] = *v;
  return spec;
}

}  // namespace

/// Counts a review of an unknown token for as long as it takes.
class http_auth::pending_review {
 public:
  pending_review(std::shared_ptr<pending_reviews> all, std::string peer) : all_(std::move(all)), peer_(std::move(peer)) {
    ++all_->number;
    ++all_->of[peer_];
  }
  ~pending_review() {
    --all_->number;
    const auto it = all_->of.find(peer_);
    if (--it->second == 0) all_->of.erase(it);
  }
  pending_review(const pending_review&) = delete;
  pending_review& operator=(const pending_review&) = delete;

 private:
  std::shared_ptr<pending_reviews> all_;
  std::string peer_;
};

http_auth::http_auth(std::shared_ptr<kube::client> unknown, std::shared_ptr<kube::client> known, settings s)
    : unknown_(std::move(unknown)), known_(std::move(known)), settings_(std::move(s)) {}

asio::awaitable<http_auth::verdict> http_auth::check(std::string authorization, std::string verb, std::string path,
                                                     std::string peer) {
  constexpr std::string_view scheme = "Bearer ";
  if (authorization.compare(0, scheme.size(), scheme) != 0 || authorization.size() == scheme.size())
    co_return verdict{401, "a bearer token is needed"};
  auto token = authorization.substr(scheme.size());
  // RFC 6750. The API server would be asked with what is no JSON.
  constexpr std::string_view token_characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=";
  if (token.find_first_not_of(token_characters) != std::string::npos)
    co_return verdict{401, "the bearer token has a character that no token has"};
  const auto key = digest(fmt::format("{}\n{}\n{}", verb, path, token));
  const auto now = settings_.now();
  const auto allowed = allowed_.find(key);
  if (allowed != allowed_.end() && now < allowed->second.at + settings_.allowed_for) co_return allowed->second.what;
  if (const auto it = refused_.find(key); it != refused_.end() && now < it->second.at + settings_.refused_for)
    co_return it->second.what;
  const bool known = allowed != allowed_.end() && now < allowed->second.at + settings_.known_for;
  std::optional<pending_review> pending;
  if (!known) {
    const auto of_peer = pending_->of.find(peer);
    if (pending_->number >= settings_.most_pending ||
        (of_peer != pending_->of.end() && of_peer->second >= settings_.most_pending_of_peer))
      co_return verdict{503, "too many unknown tokens are being reviewed"};
    pending.emplace(pending_, std::move(peer));
  }
  auto v = co_await ask(known ? known_ : unknown_, std::move(token), std::move(verb), std::move(path));
  remember(key, v);
  co_return v;
}

asio::awaitable<http_auth::verdict> http_auth::ask(std::shared_ptr<kube::client> api, std::string token, std::string verb,
                                                   std::string path) {
  json::object whose{
      {"apiVersion", "authentication.k8s.io/v1"}, {"kind", "TokenReview"}, {"spec", json::object{{"token", std::move(token)}}}};
  const auto review = co_await api->create(kube::resources::tokenreviews, "", std::move(whose));
  if (!review) co_return verdict{503, "the API server cannot be asked: " + review.error().message};
  if (!true_at(*review, {"status", "authenticated"})) co_return verdict{401, "the API server does not know this token"};
  json::object may{
      {"apiVersion", "authorization.k8s.io/v1"}, {"kind", "SubjectAccessReview"}, {"spec", subject(*review, verb, path)}};
  const auto answer = co_await api->create(kube::resources::subjectaccessreviews, "", std::move(may));
  if (!answer) co_return verdict{503, "the API server cannot be asked: " + answer.error().message};
  if (true_at(*answer, {"status", "allowed"})) co_return verdict{};
  co_return verdict{403, fmt::format("{} may not {} {}", kube::text_at(*review, {"status", "user", "username"}), verb, path)};
}

void http_auth::keep(entries& among, const std::string& key, entry e, std::size_t most) {
  among[key] = std::move(e);
  while (among.size() > most)
    among.erase(
        std::min_element(among.begin(), among.end(), [](const auto& a, const auto& b) { return a.second.at < b.second.at; }));
}

void http_auth::remember(const std::string& key, const verdict& v) {
  if (v.status == 503) return;
  const auto now = settings_.now();
  if (v.status == 200) {
    refused_.erase(key);
    keep(allowed_, key, {v, now}, settings_.most_allowed);
  } else {
    allowed_.erase(key);
    keep(refused_, key, {v, now}, settings_.most_refused);
  }
}

}  // namespace inferno::actors
