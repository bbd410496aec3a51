#include "testbed/vllm/server.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <caf/actor_clock.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <cmath>

namespace inferno::testbed {

double vllm_state::now_ms() const {
  return std::chrono::duration<double, std::milli>(self->clock().now().time_since_epoch()).count();
}

int vllm_state::draw_length(const generate& g, bool& by_length) {
  const auto& s = config.settings;
  const int most = std::max(1, s.max_model_len - g.in);
  const int limit = g.max_tokens > 0 ? std::min(g.max_tokens, most) : most;
  by_length = true;
  if (g.exact && g.max_tokens > 0) return limit;
  double length = s.avg_tokens;
  // Means are kept: the geometric distribution is the discrete exponential, the uniform one runs from 1 to 2*mean - 1.
  if (s.lengths == length_distribution::exponential) length = 1 + std::geometric_distribution<int>(1.0 / s.avg_tokens)(random);
  if (s.lengths == length_distribution::uniform)
    length = std::uniform_int_distribution<int>(1, std::max(1, static_cast<int>(2 * s.avg_tokens) - 1))(random);
  const int out = static_cast<int>(std::min(std::round(length), 1e9));
  by_length = out > limit;
  return std::min(out, limit);
}

void vllm_state::refuse(const std::shared_ptr<token_channel>& channel) {
  asio::post(config.executor, [channel] {
    channel->refused = channel->done = true;
    channel->news.cancel();
  });
}

void vllm_state::submit(const generate& g) {
  request r;
  r.in = g.in;
  r.out = draw_length(g, r.by_length);
  r.arrived_ms = now_ms();
  r.channel = g.channel;
  config.metrics->arrived();
  const auto id = g.id;
  const auto [at, fresh] = requests.emplace(id, std::move(r));
  if (!fresh) return refuse(g.channel);
  if (!core->submit(id, at->second.in, at->second.out, at->second.arrived_ms, events)) {
    requests.erase(at);
    refuse(g.channel);
  }
  settle();
}

void vllm_state::apply(const engine::event& e) {
  auto& r = requests.at(e.id);
  switch (e.kind) {
    case engine::event_kind::admitted:
      r.admitted_ms = r.prefilled_ms = e.time_ms;
      return;
    case engine::event_kind::first_token:
      r.first_ms = r.last_ms = e.time_ms;
      if (has_prefill(config.settings.engine.profile, r.in)) r.prefilled_ms = e.time_ms;
      config.metrics->first_token((e.time_ms - r.arrived_ms) / 1000);
      ++r.made;
      return;
    case engine::event_kind::token:
      config.metrics->token_gap((e.time_ms - r.last_ms) / 1000);
      r.last_ms = e.time_ms;
      ++r.made;
      return;
    case engine::event_kind::finished:
      config.metrics->observe({r.in, r.out, (r.admitted_ms - r.arrived_ms) / 1000, (r.prefilled_ms - r.admitted_ms) / 1000,
                               (e.time_ms - r.prefilled_ms) / 1000, (e.time_ms - r.arrived_ms) / 1000, r.by_length});
      return;
  }
}

/// Brings the engine to now, tells the metrics, and hands everything new to the I/O thread in one go.
void vllm_state::settle() {
  core->advance(now_ms(), events);
  struct news {
    std::shared_ptr<token_channel> channel;
    int tokens;
    bool done;
    bool by_length;
  };
  auto batch = std::make_shared<std::vector<news>>();
  for (const auto& e : events) {
    apply(e);
    if (e.kind == engine::event_kind::admitted) continue;
    auto& r = requests.at(e.id);
    const bool done = e.kind == engine::event_kind::finished;
    batch->push_back({r.channel, r.made, done, r.by_length});
    if (done) requests.erase(e.id);
  }
  events.clear();
  config.metrics->state(core->running(), core->waiting(), core->kv_usage());
  if (!batch->empty())
    asio::post(config.executor, [batch] {
      for (auto& n : *batch) {
        n.channel->tokens = n.tokens;
        n.channel->done = n.done;
        n.channel->by_length = n.by_length;
        n.channel->news.cancel();
      }
    });
  arm();
}

void vllm_state::arm() {
  const auto next = core->next_event_ms();
  if (!next || (armed_ms > 0 && armed_ms <= *next)) return;
  armed_ms = *next;
  const double wait_ms = std::max(0.0, *next - now_ms());
  self->delayed_send(self, std::chrono::microseconds(static_cast<long>(std::ceil(wait_ms * 1000))), engine_tick{++epoch});
}

vllm_actor::behavior_type vllm_server(vllm_actor::stateful_pointer<vllm_state> self, vllm_config config) {
  auto& s = self->state;
  s.self = self;
  s.core = make_engine(config.settings.engine);
  s.random.seed(config.settings.seed);
  s.config = std::move(config);
  return {
      [self](const generate& g) { self->state.submit(g); },
      [self](const cancel_request& c) {
        auto& state = self->state;
        state.core->abort(c.id, state.now_ms(), state.events);
        state.settle();  // tokens made up to now are counted before the request is forgotten
        state.requests.erase(c.id);
      },
      [self](const engine_tick& t) {
        auto& state = self->state;
        if (t.epoch != state.epoch) return;
        state.armed_ms = 0;
        state.settle();
      },
      [self](stop_server) {
        auto& state = self->state;
        for (auto& [id, r] : state.requests) state.refuse(r.channel);
        self->quit();
      },
  };
}

}  // namespace inferno::testbed
