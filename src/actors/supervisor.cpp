#include "actors/supervisor.hpp"

#include <algorithm>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/kube_watcher.hpp"
#include "actors/optimizer.hpp"

namespace inferno::actors {
namespace {

enum : int { restart_core = -1 };

}  // namespace

void supervisor_state::start_watcher(watch_kind kind) {
  kube_watcher_config w;
  w.kind = kind;
  w.api = config.api;
  w.fleet = fleet_handle;
  if (kind == watch_kind::configs) w.ns = config.controller_namespace;
  auto handle = self->spawn(kube_watcher, std::move(w));
  self->monitor(handle);
  names[handle.address()] = "kube_watcher";
  watchers[kind] = std::move(handle);
}

void supervisor_state::start_core() {
  board_handle = self->spawn(board, board_config{config.view});
  optimizer_config o;
  o.board = board_handle;
  o.logger = config.logger;
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
  f.controller_namespace = config.controller_namespace;
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
  for (const auto kind : {watch_kind::nodes, watch_kind::configs, watch_kind::deployments, watch_kind::pods, watch_kind::variants}) start_watcher(kind);
}

void supervisor_state::stop_core() {
  names.clear();
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

void supervisor_state::died(const caf::down_msg& m) {
  const auto it = names.find(m.source);
  if (it == names.end() || stopping) return;
  const auto what = it->second;
  names.erase(it);
  backoff = std::clamp(backoff * 2, config.restart_min, config.restart_max);
  config.logger.error("Actor died", {{"actor", what}, {"restart_ms", backoff.count()}});
  if (what == "kube_watcher") {
    for (const auto& [kind, w] : watchers)
      if (w.address() == m.source) self->delayed_send(self, backoff, tick{static_cast<int>(kind)});
    return;
  }
  if (restart_pending) return;
  restart_pending = true;
  stop_core();
  self->delayed_send(self, backoff, tick{restart_core});
}

supervisor_actor::behavior_type supervisor(supervisor_actor::stateful_pointer<supervisor_state> self, supervisor_config config) {
  auto& s = self->state;
  s.self = self;
  s.config = std::move(config);
  self->set_down_handler([self](const caf::down_msg& m) { self->state.died(m); });
  s.start_core();
  return {
      [self](const tick& t) {
        auto& state = self->state;
        if (state.stopping) return;
        if (t.what == restart_core) {
          state.restart_pending = false;
          state.start_core();
        } else if (!state.restart_pending) {
          state.start_watcher(static_cast<watch_kind>(t.what));
        }
      },
      [self](stop_request) {
        auto& state = self->state;
        state.stopping = true;
        state.config.logger.info("Stopping");
        state.stop_core();
        self->quit();
      },
  };
}

}  // namespace inferno::actors
