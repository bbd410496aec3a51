#include "actors/supervisor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/kube_watcher.hpp"
#include "actors/optimizer.hpp"

namespace inferno::actors {
namespace {

enum : int { restart_core = -1, restart_leader = -2, drained = -3, beat = -4 };
constexpr std::chrono::milliseconds drain_poll{10};
constexpr std::string_view instance_label = "inference.optimization/controller-instance";

}  // namespace

void supervisor_state::start_watcher(watch_kind kind) {
  kube_watcher_config w;
  w.kind = kind;
  w.api = config.api;
  w.fleet = fleet_handle;
  if (kind == watch_kind::configs) {
    w.ns = config.controller_namespace;
  } else if (kind != watch_kind::nodes) {
    w.ns = config.watch_namespace;
  }
  // Without an instance of its own a controller leaves those alone that have one.
  if (kind == watch_kind::variants)
    w.label_selector =
        config.instance.empty() ? fmt::format("!{}", instance_label) : fmt::format("{}={}", instance_label, config.instance);
  w.term = present_term();
  auto handle = self->spawn(kube_watcher, std::move(w));
  self->monitor(handle);
  started("kube_watcher " + std::string(to_string(kind)));
  names[handle.address()] = "kube_watcher";
  watchers[kind] = std::move(handle);
}

void supervisor_state::start_leader() {
  auto l = *config.election;
  l.api = config.api;
  l.supervisor = supervisor_actor{self};
  l.now = config.now;
  l.logger = config.logger;
  leader_handle = self->spawn(leader, std::move(l));
  self->monitor(leader_handle);
  names[leader_handle.address()] = "leader";
  started("leader");
}

void supervisor_state::set_leading(bool now) {
  if (std::exchange(leading, now) == now) return;
  config.view->set_leading(now);
  if (now) ++term;
  const leadership news{now, term};
  self->send(fleet_handle, news);
  self->send(optimizer_handle, news);
  // The fleet knows of the term before it gets the lists that are made for it.
  for (const auto& [kind, w] : watchers) self->send(w, news);
}

void supervisor_state::start_core() {
  board_handle = self->spawn(board, board_config{config.view});
  optimizer_config o;
  o.board = board_handle;
  o.logger = config.logger;
  o.term = present_term();
  optimizer_handle = self->spawn(optimizer, std::move(o));
  metrics_watcher_config m;
  m.source = config.source;
  m.board = board_handle;
  m.logger = config.logger;
  m.interval = config.scrape_interval;
  metrics_handle = self->spawn(metrics_watcher, std::move(m));
  fleet_config f;
  f.api = config.api;
  f.optimizer = optimizer_handle;
  f.metrics = metrics_handle;
  f.board = board_handle;
  f.now = config.now;
  f.logger = config.logger;
  f.term = present_term();
  f.controller_namespace = config.controller_namespace;
  f.watch_namespace = config.watch_namespace;
  f.defaults = config.defaults;
  fleet_handle = self->spawn(fleet, std::move(f));
  const auto watch_over = [this](const auto& handle, const char* what) {
    self->monitor(handle);
    names[handle.address()] = what;
  };
  watch_over(board_handle, "board");
  watch_over(optimizer_handle, "optimizer");
  watch_over(metrics_handle, "metrics_watcher");
  watch_over(fleet_handle, "fleet");
  started("core");
  for (const auto kind : watch_kinds) start_watcher(kind);
  for (auto& e : std::exchange(untold, {})) self->send(board_handle, std::move(e));
}

void supervisor_state::stop_core() {
  std::erase_if(names, [](const auto& entry) { return entry.second != "leader"; });
  const auto end = [this](const auto& handle) {
    if (handle) self->send_exit(handle, caf::exit_reason::user_shutdown);
  };
  for (const auto& [kind, w] : watchers) end(w);
  watchers.clear();
  end(metrics_handle);
  end(optimizer_handle);
  end(fleet_handle);
  end(board_handle);
}

/// The lease is given back last, when the writes that were under way are answered. Where one is not answered in time the lease is
/// left to run out: the write may still take effect.
void supervisor_state::drain() {
  const auto writes = config.api->writes_in_flight();
  if (writes > 0 && self->clock().now() < drain_until) return self->delayed_send(self, drain_poll, tick{drained});
  if (writes > 0) {
    config.logger.warn("Writes are not answered; the lease is not given back", {{"writes", writes}});
  } else if (leader_handle) {
    self->send(std::exchange(leader_handle, nullptr), stop_request{});
  }
  self->quit();
}

/// Without its supervisor nothing goes on, the leader's renewals least of all.
supervisor_state::~supervisor_state() {
  const auto end = [](const auto& handle) {
    if (handle) caf::anon_send_exit(handle, caf::exit_reason::kill);
  };
  end(leader_handle);
  for (const auto& [kind, w] : watchers) end(w);
  end(metrics_handle);
  end(optimizer_handle);
  end(fleet_handle);
  end(board_handle);
}

/// Doubles with each death, and begins anew for what has lived for long enough.
std::chrono::milliseconds supervisor_state::pause_of(const std::string& unit_name) {
  auto& u = units[unit_name];
  if (self->clock().now() - u.started >= 2 * config.restart_max) u.backoff = std::chrono::milliseconds(0);
  return u.backoff = std::clamp(u.backoff * 2, config.restart_min, config.restart_max);
}

/// Asks every actor for a sign of life. CAF itself answers the question, so an answer says that the scheduler runs and that the
/// actor takes messages from its mailbox.
void supervisor_state::ask_all() {
  const auto health = config.health;
  health->answered("supervisor");
  const auto ask = [&](const auto& handle, const char* component) {
    health->expect(component);
    if (!handle) return;
    self->request(caf::actor_cast<caf::actor>(handle), liveness::limit, caf::sys_atom::value, caf::get_atom::value,
                  std::string("info"))
        .then([health, component](caf::ok_atom, const std::string&, const caf::strong_actor_ptr&,
                                  const std::string&) { health->answered(component); },
              [](const caf::error&) {});  // what is silent for too long is seen by its last answer
  };
  ask(fleet_handle, "fleet");
  ask(optimizer_handle, "optimizer");
  ask(metrics_handle, "metrics watcher");
  ask(board_handle, "board");
  if (config.election) ask(leader_handle, "leader");
  self->delayed_send(self, liveness::beat, tick{beat});
}

void supervisor_state::died(const caf::down_msg& m) {
  const auto it = names.find(m.source);
  if (it == names.end() || stopping) return;
  const auto what = it->second;
  names.erase(it);
  const auto watcher =
      std::find_if(watchers.begin(), watchers.end(), [&](const auto& entry) { return entry.second.address() == m.source; });
  const auto unit_name = what == "leader"            ? what
                         : watcher == watchers.end() ? std::string("core")
                                                     : what + " " + std::string(to_string(watcher->first));
  const auto pause = pause_of(unit_name);
  config.logger.error("Actor died",
                      {{"actor", what}, {"reason", self->system().render(m.reason)}, {"restart_ms", pause.count()}});
  if (watcher != watchers.end()) {
    self->send(board_handle, error_noted{"supervision", what});
    return self->delayed_send(self, pause, tick{static_cast<int>(watcher->first)});
  }
  if (what == "leader") {
    self->send(board_handle, error_noted{"supervision", what});
    // Nothing renews the lease now, so it is as good as lost. The next leader actor opens the gate when it holds the lease.
    config.api->allow_writes(kube_api::never);
    set_leading(false);
    return self->delayed_send(self, pause, tick{restart_leader});
  }
  // The board may be among the dead.
  untold.push_back({"supervision", what});
  if (restart_pending) return;
  restart_pending = true;
  stop_core();
  self->delayed_send(self, pause, tick{restart_core});
}

supervisor_actor::behavior_type supervisor(supervisor_actor::stateful_pointer<supervisor_state> self, supervisor_config config) {
  auto& s = self->state;
  s.self = self;
  s.config = std::move(config);
  self->set_down_handler([self](const caf::down_msg& m) { self->state.died(m); });
  s.leading = !s.config.election.has_value();
  s.term = s.leading ? 1 : 0;
  s.config.api->allow_writes(s.leading ? kube_api::always : kube_api::never);
  s.config.view->set_leading(s.leading);
  s.start_core();
  if (s.config.election) s.start_leader();
  if (s.config.health) s.ask_all();
  return {
      [self](const leadership& m) { self->state.set_leading(m.leading); },
      [self](const error_noted& m) { self->send(self->state.board_handle, m); },
      [self](const tick& t) {
        auto& state = self->state;
        if (t.what == drained) return state.drain();
        if (state.stopping) return;
        if (t.what == beat) {
          state.ask_all();
        } else if (t.what == restart_core) {
          state.restart_pending = false;
          state.start_core();
        } else if (t.what == restart_leader) {
          state.start_leader();
        } else if (!state.restart_pending) {
          state.start_watcher(static_cast<watch_kind>(t.what));
        }
      },
      [self](stop_request) {
        auto& state = self->state;
        state.stopping = true;
        state.config.logger.info("Stopping");
        // Who has an answer waiting would else go on with the next write, beside the release of the lease.
        state.config.api->end_writes();
        state.stop_core();
        state.drain_until = self->clock().now() + state.config.drain_patience;
        self->delayed_send(self, drain_poll, tick{drained});
      },
  };
}

}  // namespace inferno::actors
