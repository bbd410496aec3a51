#include "tests/e2e/evidence.hpp"

#include <fmt/format.h>

#include <sstream>

#include "net/kube/client.hpp"

namespace inferno::test {

using testbed::integer_at;
using testbed::text_at;

std::string another_account(const scene& s, const std::string& account) {
  s.cluster.apply(
      fmt::format("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {}, namespace: {}}}\n", account, s.system_ns));
  const auto objects = testbed::parse_manifests(s.replaced(repository_file("deploy/rbac/rbac.yaml"))).value();
  for (const auto& o : objects) {
    const auto kind = text_at(o, {"kind"});
    if (!kind.ends_with("Binding")) continue;
    const auto path =
        api_path(text_at(o, {"apiVersion"}), kind, text_at(o, {"metadata", "namespace"}), text_at(o, {"metadata", "name"}));
    auto subjects = s.cluster.get(path).at("subjects").as_array();
    subjects.push_back(json::object{{"kind", "ServiceAccount"}, {"name", account}, {"namespace", s.system_ns}});
    const auto done =
        s.cluster.call("PATCH", path, json::object{{"subjects", std::move(subjects)}}, "application/merge-patch+json");
    if (!done.ok()) throw std::runtime_error(path + ": " + done.problem);
  }
  const auto file = s.folder.file("token-" + account);
  std::ofstream(file) << s.cluster.token(s.system_ns, account);
  return file;
}

std::vector<audited> requests_of(const scene& s, const std::string& account, const std::string& since) {
  const auto user = fmt::format("system:serviceaccount:{}:{}", s.system_ns, account);
  std::vector<audited> out;
  std::istringstream in(s.cluster.log("audit"));
  for (std::string line; std::getline(in, line);) {
    if (line.find(user) == std::string::npos) continue;
    boost::system::error_code ec;
    const auto parsed = json::parse(line, ec);
    // The line that is being written.
    if (ec || text_at(parsed.as_object(), {"user", "username"}) != user) continue;
    const auto& e = parsed.as_object();
    audited a;
    a.at = text_at(e, {"requestReceivedTimestamp"});
    a.verb = text_at(e, {"verb"});
    a.resource = text_at(e, {"objectRef", "resource"});
    if (const auto sub = text_at(e, {"objectRef", "subresource"}); !sub.empty()) a.resource += "/" + sub;
    a.ns = text_at(e, {"objectRef", "namespace"});
    a.name = text_at(e, {"objectRef", "name"});
    a.code = static_cast<int>(integer_at(e, {"responseStatus", "code"}, 0));
    if (a.at >= since) out.push_back(std::move(a));
  }
  return out;
}

std::vector<audited> writes_of(const scene& s, const std::string& account, const std::string& since) {
  auto out = requests_of(s, account, since);
  std::erase_if(out,
                [](const audited& a) { return !a.write() || !a.done() || a.resource == "leases" || a.resource == "events"; });
  return out;
}

std::string shown(const std::vector<audited>& requests) {
  std::string out;
  for (const auto& a : requests) out += fmt::format("{} {} {} {}/{}: {}\n", a.at, a.verb, a.resource, a.ns, a.name, a.code);
  return out;
}

std::string now_text() { return net::kube::format_micro_time(std::chrono::system_clock::now()); }

namespace {

std::string collection(const scene& s, const std::string& kind) {
  return api_path(kind == "Deployment" ? "apps/v1" : "v1", kind, s.ns, "");
}

}  // namespace

std::string version_now(const scene& s, const std::string& kind) {
  return text_at(s.cluster.get(collection(s, kind)), {"metadata", "resourceVersion"});
}

std::vector<json::object> states_since(const scene& s, const std::string& kind, const std::string& version) {
  const auto answer =
      s.cluster.call("GET", fmt::format("{}?watch=true&resourceVersion={}&timeoutSeconds=1", collection(s, kind), version));
  if (!answer.ok()) throw std::runtime_error(fmt::format("watch of {}: {} {}", kind, answer.status, answer.problem));
  std::vector<json::object> out;
  const auto add = [&](json::object event) {
    if (text_at(event, {"type"}) == "ERROR") throw std::runtime_error("watch of " + kind + ": " + json::serialize(event));
    auto state = event.at("object").as_object();
    if (text_at(event, {"type"}) == "DELETED") state["deleted"] = true;
    out.push_back(std::move(state));
  };
  // A line of JSON for each; a single one has been parsed.
  if (answer.body.is_object()) {
    add(answer.body.as_object());
  } else {
    std::istringstream lines{std::string(answer.body.as_string())};
    for (std::string line; std::getline(lines, line);)
      if (!line.empty()) add(json::parse(line).as_object());
  }
  return out;
}

std::vector<long> replicas_since(const scene& s, const std::string& version, long before, const std::string& name) {
  std::vector<long> out;
  for (const auto& state : states_since(s, "Deployment", version)) {
    if (text_at(state, {"metadata", "name"}) != name) continue;
    const auto n = static_cast<long>(integer_at(state, {"spec", "replicas"}, -1));
    if (n != before) out.push_back(n);
    before = n;
  }
  return out;
}

}  // namespace inferno::test
