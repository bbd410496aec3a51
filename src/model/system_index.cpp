#include "model/system_index.hpp"

#include <fmt/format.h>

namespace inferno::model {

system_index::system_index(const system_data& system) : system_(system) {
  for (const auto& a : system.accelerators) accelerators_.emplace(a.name, &a);
  for (const auto& p : system.profiles) profiles_[p.model].push_back(&p);
  for (std::size_t i = 0; i < system.capacity.size(); ++i) types_.emplace(system.capacity[i].type, static_cast<int>(i));
  for (const auto& c : system.classes) {
    classes_.emplace(c.name, &c);
    for (const auto& t : c.targets) targets_.emplace(std::pair<std::string_view, std::string_view>(c.name, t.model), &t);
  }
}

const accelerator* system_index::find(const std::string& name) const {
  const auto it = accelerators_.find(name);
  return it == accelerators_.end() ? nullptr : it->second;
}

const model_profile* system_index::profile(const std::string& model, const std::string& acc) const {
  const auto it = profiles_.find(model);
  if (it == profiles_.end()) return nullptr;
  for (const auto* p : it->second)
    if (p->acc == acc) return p;
  return nullptr;
}

int system_index::type(const std::string& name) const {
  const auto it = types_.find(name);
  return it == types_.end() ? -1 : it->second;
}

tl::expected<variant_view, std::string> system_index::view(const server_spec& server) const {
  const auto cls = classes_.find(server.class_name);
  if (cls == classes_.end()) return tl::unexpected(fmt::format("unknown service class \"{}\"", server.class_name));
  const auto target = targets_.find({server.class_name, server.model});
  if (target == targets_.end())
    return tl::unexpected(fmt::format("service class \"{}\" has no target for model \"{}\"", server.class_name, server.model));
  variant_view v;
  v.server = &server;
  v.slo = target->second->slo;
  v.priority = cls->second->priority;
  v.search_batch = system_.optimizer.search_batch;
  const auto it = profiles_.find(server.model);
  if (it == profiles_.end()) return v;
  v.options.reserve(it->second.size());
  for (const auto* p : it->second)
    if (const auto* acc = find(p->acc)) v.options.emplace_back(acc, p);
  return v;
}

}  // namespace inferno::model
