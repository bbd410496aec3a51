#include "actors/analyzer.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/death.hpp"

namespace inferno::actors {

analyzer_actor::behavior_type analyzer(analyzer_actor::stateful_pointer<analyzer_state> self, analyzer_config config) {
  keep_reason_of_death(self);
  self->state.analysis.emplace(config.key, config.now);
  self->state.config = std::move(config);
  const auto publish = [self] {
    if (auto curve = self->state.analysis->make_curve())
      self->send(self->state.config.optimizer, curve_changed{std::move(curve)});
  };
  return {
      [=](const analyzer_update& m) {
        if (self->state.analysis->update(m.inputs)) publish();
      },
      [=](const load_arrived& m) {
        const bool news = self->state.analysis->observe(m.sample);
        self->state.analysis->show_measured();
        if (news) publish();
      },
      [=](const requests_waiting& m) {
        if (self->state.analysis->waiting(m.size, m.time_s, m.gateway)) publish();
      },
      [=](const metrics_lost& m) {
        const bool news = self->state.analysis->lost(m.reason, m.problem);
        self->state.analysis->show_measured();
        if (news) publish();
      },
  };
}

}  // namespace inferno::actors
