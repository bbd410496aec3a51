#include "model/pool.hpp"

#include <algorithm>
#include <map>

#include "model/gpu_room.hpp"

namespace inferno::model {

server_load together(const std::vector<variant_view>& members) {
  server_load sum;
  double rate = 0, in = 0, out = 0;
  for (const auto& m : members) {
    const auto& l = m.server->current.load;
    const double r = l.arrival_rate.per_sec();
    rate += r;
    in += r * l.avg_in_tokens;
    out += r * l.avg_out_tokens;
    sum.out_cv = std::max(sum.out_cv, l.out_cv);
  }
  sum.arrival_rate = req_rate::per_sec(rate);
  if (rate > 0) {
    sum.avg_in_tokens = in / rate;
    sum.avg_out_tokens = out / rate;
  }
  return sum;
}

namespace {

void append(std::string& list, const std::string& text) { list += (list.empty() ? "" : "; ") + text; }

}  // namespace

model_pool::model_pool(const std::vector<variant_view>& members, std::optional<server_load> known) {
  const auto load = known ? *known : together(members);
  for (const auto& m : members) {
    auto& server = servers_.emplace_back(*m.server);
    server.current.load = load;
    members_.push_back(m);
    members_.back().server = &server;
  }
}

req_rate model_pool::demand() const {
  const auto& load = servers_.front().current.load;
  return load.arrival_rate.per_sec() > 0 && load.avg_out_tokens > 0 ? demand_of(load, members_.front().slo) : req_rate{};
}

void model_pool::predict(solver_candidate& mix) const {
  for (auto& p : mix.mix) predict_at(members_[p.member], p.alloc, p.alloc.rate_per_replica);
}

tl::expected<mix_set, std::string> model_pool::mixes(const placement& place, mix_rules rules, const gpu_limits& limits) {
  std::vector<pool_option> options;
  std::vector<pool_member> bounds;
  std::string why_not;
  for (std::size_t m = 0; m < members_.size(); ++m) {
    const auto& server = servers_[m];
    bounds.push_back({server.current, server.min_replicas, server.max_replicas});
    // A member need not be able to carry the whole demand by itself, nor have a replica while another one has.
    auto alone = server;
    alone.max_replicas = 0;
    alone.min_replicas = 1;
    auto view = members_[m];
    view.server = &alone;
    auto set = make_candidates(view);
    if (set.candidates.empty() || !set.refused.empty()) append(why_not, set.reason());
    for (auto& c : set.candidates) {
      const auto at = place(view, c);
      if (!at) {
        append(why_not, at.error());
        continue;
      }
      c.cost.cents /= c.num_replicas;
      c.num_replicas = 1;
      options.push_back({m, std::move(c), at->first, at->second});
    }
  }
  maker_.emplace(std::move(options), std::move(bounds), demand(), rules);
  auto out = maker_->all(limits);
  if (out.mixes.empty() && why_not.empty()) why_not = "the replicas allowed cannot carry the pool's demand";
  if (out.mixes.empty()) return tl::unexpected(why_not);
  for (auto& c : out.mixes) predict(c);
  return out;
}

const pool_option* model_pool::option(std::size_t member, const std::string& accelerator) const {
  for (const auto& o : maker_->options())
    if (o.member == member && o.per_replica.accelerator == accelerator) return &o;
  return nullptr;
}

std::optional<solver_candidate> model_pool::another(const gpu_limits& limits, const std::vector<double>& price) const {
  auto out = maker_->best(limits, price);
  if (out) predict(*out);
  return out;
}

namespace {

constexpr int most_rounds = 4;
/// Candidates of a pool beyond which none is added.
constexpr std::size_t most_columns = 400;

/// GPUs by type that a choice takes.
void add_use(gpu_limits& use, const solver_variant& v, const solver_choice& choice) {
  if (choice.candidate < 0) return;
  const auto& c = v.candidates[static_cast<std::size_t>(choice.candidate)];
  std::size_t part = 0;
  for_each_part(c, [&](int type, int units, int) {
    const int replicas = c.mix.empty() ? choice.num_replicas : choice.part_replicas[part++];
    if (type >= 0) use[static_cast<std::size_t>(type)] += units * replicas;
  });
}

bool same_mix(const solver_candidate& a, const solver_candidate& b) {
  return std::equal(a.mix.begin(), a.mix.end(), b.mix.begin(), b.mix.end(), [](const auto& x, const auto& y) {
    return x.member == y.member && x.type == y.type && x.alloc.num_replicas == y.alloc.num_replicas &&
           x.alloc.accelerator == y.alloc.accelerator;
  });
}

/// True: it is new, and was put where its value belongs.
bool insert(std::vector<solver_candidate>& list, solver_candidate mix) {
  if (list.size() >= most_columns || std::any_of(list.begin(), list.end(), [&](const auto& c) { return same_mix(c, mix); }))
    return false;
  const auto at =
      std::upper_bound(list.begin(), list.end(), mix, [](const auto& a, const auto& b) { return a.alloc.value < b.alloc.value; });
  list.insert(at, std::move(mix));
  return true;
}

/// GPUs that the classes up to each priority take, and those that a pool may take: what these leave, and its own.
class room_for_pools {
 public:
  room_for_pools(const solver_input& input, const solver_result& result) : input_(input), result_(result) {
    for (std::size_t i = 0; i < input.variants.size(); ++i) {
      auto& use = up_to_[input.variants[i].priority];
      use.resize(input.capacity.size());
      add_use(use, input.variants[i], result.choices[i]);
    }
    gpu_limits sum(input.capacity.size());
    for (auto& [priority, use] : up_to_)
      for (std::size_t t = 0; t < sum.size(); ++t) use[t] = sum[t] += use[t];
  }
  gpu_limits of(std::size_t variant) const {
    gpu_limits own(input_.capacity.size());
    add_use(own, input_.variants[variant], result_.choices[variant]);
    const auto& taken = up_to_.at(input_.variants[variant].priority);
    for (std::size_t t = 0; t < own.size(); ++t) own[t] += std::max(0, input_.capacity[t].count - taken[t]);
    return own;
  }

 private:
  const solver_input& input_;
  const solver_result& result_;
  std::map<int, gpu_limits> up_to_;
};

}  // namespace

solver_result solve_with_pools(solver_input& input, const std::vector<open_pool>& open) {
  auto result = solve(input);
  if (open.empty() || input.optimizer.unlimited) return result;
  for (int round = 0; round < most_rounds; ++round) {
    const room_for_pools rooms(input, result);
    bool news = false;
    for (const auto& o : open) {
      const auto room = rooms.of(o.variant);
      for (const auto& price : {std::vector<double>{}, result.price}) {
        auto mix = o.pool->another(room, price);
        // Choices are by index: what is inserted here counts from the next round on.
        if (mix && insert(input.variants[o.variant].candidates, std::move(*mix))) news = true;
        if (result.price.empty()) break;
      }
    }
    if (!news) break;
    result = solve(input);
  }
  auto& r = result.report;
  r.lower_bound.reset();
  r.gap.reset();
  r.satisfiable = static_cast<int>(
      std::count_if(input.variants.begin(), input.variants.end(), [](const auto& v) { return !v.candidates.empty(); }));
  return result;
}

}  // namespace inferno::model
