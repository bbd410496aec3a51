#include "actors/scale_watcher.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <caf/actor_clock.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/death.hpp"
#include "actors/decode.hpp"
#include "net/kube/json_path.hpp"

namespace inferno::actors {
namespace {

using net::kube::find;
using net::kube::text_at;

/// The resource of the kind in an APIResourceList; error: it is not there, or has no scale.
tl::expected<kube::resource, std::string> find_resource(const json::object& list, const target_kind& kind,
                                                        const std::string& version) {
  const auto api = kind.group.empty() ? version : kind.group + "/" + version;
  const auto* entries = find(list, {"resources"});
  kube::resource out{kind.group, version, "", kind.kind, true};
  bool scalable = false;
  if (entries && entries->is_array())
    for (const auto& e : entries->get_array())
      if (e.is_object() && text_at(e.get_object(), {"kind"}) == kind.kind) {
        const auto name = text_at(e.get_object(), {"name"});
        const auto* namespaced = find(e.get_object(), {"namespaced"});
        if (name.find('/') == std::string::npos && namespaced && namespaced->is_bool() && namespaced->get_bool())
          out.plural = name;
      }
  if (out.plural.empty()) return tl::unexpected(fmt::format("{} has no namespaced kind {}", api, kind.kind));
  for (const auto& e : entries->get_array())
    scalable = scalable || (e.is_object() && text_at(e.get_object(), {"name"}) == out.plural + "/scale");
  if (!scalable) return tl::unexpected(fmt::format("{} of {} has no scale subresource", kind.kind, api));
  return out;
}

/// Calls come on the port's thread; only keys and uids go on. The handle is weak, as in kube_watcher.
kube::reflector_sink make_sink(const scale_watcher_actor& self) {
  const caf::actor_addr address = self.address();
  const auto forward = [address](auto message) {
    if (const auto strong = caf::actor_cast<scale_watcher_actor>(address)) caf::anon_send(strong, std::move(message));
  };
  const auto uid_of = [](const json::object& o) { return text_at(o, {"metadata", "uid"}); };
  kube::reflector_sink sink;
  sink.replaced = [=](std::vector<json::object> objects) {
    auto list = std::make_shared<std::vector<target_change>>();
    for (const auto& o : objects) list->push_back({key_of(o), uid_of(o), false});
    forward(targets_listed{std::move(list)});
  };
  sink.changed = [=](const kube::watch_event& e) {
    forward(target_change{key_of(e.object), uid_of(e.object), e.type == kube::watch_type::deleted});
  };
  sink.health = [=](std::optional<net::error> e) { forward(target_watch_health{e ? e->message : std::string()}); };
  return sink;
}

}  // namespace

void scale_watcher_state::discover() {
  auto handle = scale_watcher_actor{self};
  config.api->get_path(
      config.kind.group.empty() ? "/api/" + config.version : fmt::format("/apis/{}/{}", config.kind.group, config.version),
      [handle](net::result<json::object> r) {
        caf::anon_send(handle, api_result{0, 0, std::make_shared<const net::result<json::object>>(std::move(r))});
      });
}

void scale_watcher_state::discovered(const net::result<json::object>& answer) {
  if (resource) return;
  std::string problem;
  if (answer) {
    auto found = find_resource(*answer, config.kind, config.version);
    if (found) {
      pause.reset();
      watch_problem.clear();
      resource = std::make_shared<const kube::resource>(std::move(*found));
      kube::list_options options;
      options.ns = config.ns;
      subscription = config.api->watch(*resource, std::move(options), make_sink(scale_watcher_actor{self}));
      return;
    }
    problem = std::move(found.error());
  } else if (answer.error().kind == net::error_kind::status && answer.error().status == 404) {
    problem = fmt::format("the API has no {}/{}", config.kind.group, config.version);
  } else {
    problem = answer.error().message;
  }
  watch_problem = std::move(problem);
  tell_state();
  retry_later(answer ? nullptr : &answer.error());
}

/// Discovery, and what could not be read, are asked for again after a pause that doubles.
void scale_watcher_state::retry_later(const net::error* error) {
  if (error && error->retry_after) quiet_until = std::max(quiet_until, self->clock().now() + *error->retry_after);
  if (std::exchange(retry_pending, true)) return;
  self->delayed_send(self, pause.next(config.retry_min, config.retry_max, error), tick{0});
}

bool scale_watcher_state::told_to_wait() const { return self->clock().now() < quiet_until; }

void scale_watcher_state::retry() {
  retry_pending = false;
  if (told_to_wait()) {
    retry_pending = true;
    self->delayed_send(self, quiet_until - self->clock().now(), tick{0});
    return;
  }
  if (!resource) return discover();
  round = waiting.size();
  ask_again();
}

void scale_watcher_state::postpone(const kube::object_key& key) {
  if (unanswered.insert(key).second) waiting.push_back(key);
}

/// Goes through those that wait, a few at a time: the next when one is answered.
void scale_watcher_state::ask_again() {
  while (round > 0 && retrying.size() < config.retries_at_once) {
    --round;
    const auto key = waiting.front();
    waiting.pop_front();
    if (!unanswered.erase(key)) continue;
    retrying.insert(key);
    ask(key);
  }
}

void scale_watcher_state::seen(const kube::object_key& key, const std::string& uid) {
  auto& e = entries[key];
  if (e.incarnation == 0 || e.uid != uid) {
    if (e.incarnation != 0) gone(key);
    auto& fresh = entries[key];
    fresh.uid = uid;
    fresh.incarnation = ++next_incarnation;
    ++unread;
  }
  if (unanswered.count(key)) return;  // asked for in its turn
  if (!told_to_wait()) return ask(key);
  postpone(key);
  retry_later();
}

void scale_watcher_state::settle(entry& e) {
  if (std::exchange(e.read, true)) return;
  --unread;
}

void scale_watcher_state::gone(const kube::object_key& key) {
  const auto it = entries.find(key);
  if (it == entries.end()) return;
  settle(it->second);
  entries.erase(it);
  if (unanswered.erase(key)) {
    const auto at = std::find(waiting.begin(), waiting.end(), key);
    if (static_cast<std::size_t>(at - waiting.begin()) < round) --round;
    waiting.erase(at);
  }
  self->send(config.fleet, target_removed{{config.kind.kind, key.ns, key.name, config.kind.group}});
  if (retrying.erase(key)) ask_again();
}

void scale_watcher_state::ask(const kube::object_key& key) {
  auto& e = entries.at(key);
  if (e.asking) {
    e.again = true;
    return;
  }
  e.asking = true;
  auto handle = scale_watcher_actor{self};
  config.api->get(
      *resource, key, "scale", kube::lane::list, [handle, key, incarnation = e.incarnation](net::result<json::object> r) {
        caf::anon_send(handle, scale_answer{key, incarnation, std::make_shared<const net::result<json::object>>(std::move(r))});
      });
}

void scale_watcher_state::answered(const scale_answer& a) {
  const auto it = entries.find(a.key);
  if (it == entries.end() || it->second.incarnation != a.incarnation) return;
  auto& e = it->second;
  e.asking = false;
  const auto* error = *a.result ? nullptr : &a.result->error();
  const bool absent = error && error->kind == net::error_kind::status && error->status == 404;
  const bool again = std::exchange(e.again, false);
  if (again && (!error || absent)) return ask(a.key);
  const bool retried = retrying.erase(a.key) > 0;
  if (!error) {
    // A server that answers has what it needs, whoever else is still to be asked for.
    if (retried || (unanswered.empty() && retrying.empty())) pause.reset();
    auto decoded = decode_scale(**a.result, config.kind, a.key);
    if (decoded) {
      decoded->uid = e.uid;
      decoded->other = std::make_shared<const scaled_kind>(scaled_kind{resource, decoded->other->serving, ""});
      tell_known(a.key, std::move(*decoded));
    } else {
      e.known = false;
      tell_problem(a.key, decoded.error());
    }
  } else if (!absent) {  // else it is on its way out: the watch will say so
    // What was known of it is the best there is.
    if (!e.known)
      tell_problem(a.key,
                   fmt::format("scale of {} {}/{} cannot be read: {}", config.kind.kind, a.key.ns, a.key.name, error->message));
    self->send(config.board, error_noted{"scale_watcher", "scale"});
    postpone(a.key);
    // A server in trouble is left alone; one that will not tell of this object may of others.
    if (!refused(*error)) round = 0;
    retry_later(error);
  }
  settle(e);
  ask_again();
  tell_state();
}

void scale_watcher_state::tell_known(const kube::object_key& key, workload_object target) {
  auto& e = entries.at(key);
  e.known = true;
  if (!std::exchange(e.problem, {}).empty())
    config.logger.info("Target can be followed again", {{"kind", config.kind.kind}, {"name", key.name}, {"namespace", key.ns}});
  self->send(config.fleet, target_changed{std::make_shared<const workload_object>(std::move(target))});
}

void scale_watcher_state::tell_problem(const kube::object_key& key, const std::string& problem) {
  if (std::exchange(entries.at(key).problem, problem) == problem) return;
  config.logger.warn("Target cannot be followed",
                     {{"kind", config.kind.kind}, {"name", key.name}, {"namespace", key.ns}, {"error", problem}});
  workload_object unknown;
  unknown.ref = {config.kind.kind, key.ns, key.name, config.kind.group};
  unknown.other = std::make_shared<const scaled_kind>(scaled_kind{resource, {}, problem});
  self->send(config.fleet, target_changed{std::make_shared<const workload_object>(std::move(unknown))});
}

void scale_watcher_state::tell_state() {
  std::pair now{(told && told->first) || (listed && unread == 0), watch_problem};
  if (told == now) return;
  const auto before = told ? told->second : std::string();
  told = std::move(now);
  if (!watch_problem.empty() && watch_problem != before) {
    config.logger.warn("Targets of a kind cannot be followed", {{"kind", config.kind.kind}, {"error", watch_problem}});
    self->send(config.board, error_noted{"scale_watcher", config.kind.kind});
  } else if (watch_problem.empty() && !before.empty()) {
    config.logger.info("Targets of a kind can be followed again", {{"kind", config.kind.kind}});
  }
  self->send(config.fleet, target_kind_state{config.kind, told->first, told->second});
}

scale_watcher_actor::behavior_type scale_watcher(scale_watcher_actor::stateful_pointer<scale_watcher_state> self,
                                                 scale_watcher_config config) {
  keep_reason_of_death(self);
  self->state.self = self;
  self->state.pause = backoff(config.kind.group + "/" + config.kind.kind);
  self->state.config = std::move(config);
  self->state.discover();
  return {
      [self](const api_result& r) { self->state.discovered(*r.result); },
      [self](const scale_answer& a) { self->state.answered(a); },
      [self](const targets_listed& m) {
        auto& s = self->state;
        std::set<kube::object_key> there;
        for (const auto& t : *m.targets) there.insert(t.key);
        std::vector<kube::object_key> lost;
        for (const auto& [key, e] : s.entries)
          if (!there.count(key)) lost.push_back(key);
        for (const auto& key : lost) s.gone(key);
        for (const auto& t : *m.targets) s.seen(t.key, t.uid);
        s.listed = true;
        s.tell_state();
      },
      [self](const target_change& t) {
        auto& s = self->state;
        if (t.deleted) {
          s.gone(t.key);
        } else {
          s.seen(t.key, t.uid);
        }
        s.tell_state();
      },
      [self](const target_watch_health& m) {
        self->state.watch_problem = m.problem;
        self->state.tell_state();
      },
      [self](const tick&) { self->state.retry(); },
  };
}

}  // namespace inferno::actors
