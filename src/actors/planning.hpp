#pragma once
// The optimizer's thinking without its actor: latest curves and capacity in, plan out. Deterministic. A plan takes over every
// decision that did not change from the one before. Variants whose decisions nobody carries out (dry-run, or another autoscaler
// scales the target) keep the GPUs they have while the others are planned, and get a decision from what these leave.
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "actors/messages.hpp"
#include "model/load_estimator.hpp"
#include "model/pool.hpp"

namespace inferno::actors {

class planner {
 public:
  void set_curve(std::shared_ptr<const capacity_curve> curve);
  void remove(const variant_key& key);
  void set_capacity(std::shared_ptr<const capacity_view> capacity);
  void set_saturation(model::saturation_policy policy) { input_.optimizer.saturation = policy; }
  void set_solver(model::solver_kind solver) { input_.optimizer.solver = solver; }
  std::size_t size() const { return slots_.size(); }

  /// One joint plan over all variants. `now_s`: seconds of a steady clock, by which patience with starting servers ends.
  /// `solve_seconds` is left 0.
  std::shared_ptr<plan_snapshot> plan(std::uint64_t cycle, std::string trigger, double now_s);

 private:
  /// GPUs of a decision, if it is carried out as far as it can: index into input_.capacity (-1 = none), and how many.
  struct gpu_count {
    int type = -1;
    int count = 0;
  };
  /// A variant, and its line in input_.variants.
  struct slot {
    std::shared_ptr<const capacity_curve> given;  ///< by the analyzer
    std::shared_ptr<const capacity_curve> curve;  ///< that counts: the given one, or the one of its sleep
    std::size_t line = 0;
    bool acts = true;                          ///< its decisions are carried out
    std::string pool;                          ///< "" = in none
    std::string orphaned_in;                   ///< the pool that it left without a server for its load; "" = none
    std::shared_ptr<const decision> last;      ///< of the plan before
    gpu_count at;                              ///< type and number of the GPUs in `last`
    bool fresh = true;                         ///< the curve is newer than `last`
    std::optional<double> starting_since_s{};  ///< in its pool
    bool given_up = false;                     ///< it has been starting for too long: its pool does without it
    int ready = 0;                             ///< the most of its replicas that were Ready while some were not
    std::optional<double> short_since_s{};     ///< since when no more of them have become Ready
    int bound = 0;     ///< more replicas did not come or become Ready: its pool counts on no more; 0 = no such bound
    int bound_at = 0;  ///< replicas that were Ready then
    double bound_until_s = 0;
    int beyond = 0;  ///< replicas asked for beyond what is counted on, as the rest of the pool does not carry the demand
    std::optional<double> behind_since_s{};  ///< since when its target has had fewer replicas than it was given, and no more came
    int behind_at = 0;                       ///< how many
    bool unfollowed = false;                 ///< that has lasted: others may have the GPUs
    int floor = 0;                           ///< replicas that a held variant keeps from more important ones
    bool surges = false;                     ///< it moves, and nothing is Ready there yet: it gives way to more important ones
    std::string granted_on{};                ///< what the plan before granted it: accelerator
    std::optional<int> granted{};            ///< and replicas; nullopt: it is new
  };
  /// What a member of a pool is to have in the end, and for now.
  struct part {
    const model::solver_candidate::part* mix = nullptr;  ///< of the candidate chosen; nullptr: none
    std::string accelerator;                             ///< planned
    int planned = 0;
    int granted = 0;  ///< of those, what there are GPUs for
    int now = 0;      ///< to ask for until others are Ready
    bool operator==(const part& other) const {
      return accelerator == other.accelerator && planned == other.planned && granted == other.granted && now == other.now;
    }
  };
  struct pool {
    std::set<variant_key> members;
    std::set<variant_key> orphaned;  ///< no members: what arrived at them is the members' to serve, until one of these tells more
    bool acts = true;                ///< of all its members
    bool changed = true;
    bool extended = false;                           ///< more is asked of a member than is counted on
    std::vector<variant_key> order;                  ///< the members as the mixes count them
    std::unique_ptr<model::model_pool> demand;       ///< there are several, and they are planned together
    std::shared_ptr<const pool_demand> told;         ///< the same, for explanations
    bool complete = true;                            ///< every mix that may be best is among the candidates
    std::optional<std::size_t> line;                 ///< their line in input_.variants
    std::unique_ptr<model::model_pool> lasting;      ///< for the load of the last minutes, where that starts other replicas
    model::sliding_peak<model::server_load> recent;  ///< what arrived at all of them together
    model::sliding_peak<model::server_load> longer;  ///< likewise, of as long as it takes for a start to be worth it
    double at_s = 0;                                 ///< the newest of it
    std::vector<part> parts;                         ///< by `order`: what the last plan came to
  };

  std::size_t add_line(std::string name);
  void drop_line(std::size_t line);
  int type_of(const std::string& device);
  std::vector<model::solver_candidate> candidates_of(const slot& s, int most);
  std::vector<model::solver_candidate> candidates_of(const slot& s) { return candidates_of(s, ceiling_of(s)); }
  static bool nobody_follows(const slot& s);
  static int ceiling_of(const slot& s);
  static int counted_on(const slot& s);
  void count_on(slot& s, int replicas, double now_s);
  bool ask_beyond(const model::solver_result& result);
  std::vector<model::open_pool> open_pools(bool acts) const;
  void as_if_followed(model::solver_result& result);
  void note_followers(double now_s);
  int fits_on_nodes(const capacity_curve& curve, const std::string& accelerator, const std::string& device, int units) const;
  static std::shared_ptr<const capacity_curve> with_device(const slot& s, std::shared_ptr<const capacity_curve> curve);
  void take(slot& s, std::shared_ptr<const capacity_curve> curve);
  void wake();
  void join_pool(const variant_key& key, slot& s);
  void leave_pool(const variant_key& key, slot& s);
  void leave_orphans(const variant_key& key, slot& s);
  std::optional<model::server_load> orphaned(const pool& p) const;
  bool planned_together(const slot& s) const;
  /// What arrives at a pool, at most in the recent past and in the last minutes.
  struct pool_load {
    model::server_load recent, longer;
  };
  pool_load load_of(pool& p, const std::optional<model::server_load>& orphaned) const;
  void share(pool& p, const pool_load& load);
  tl::expected<model::mix_set, std::string> mixes_of(model::model_pool& of, const model::mix_rules& rules);
  std::optional<model::mix_set> mixes_there(const pool& p, const model::server_load& load,
                                            const std::vector<model::variant_view>& views, const model::mix_rules& rules);
  void settle(const model::solver_result& result);
  std::vector<part> parts_of(const pool& p, const model::solver_choice& choice) const;
  model::gpu_limits gpus();
  void give_up(double now_s);
  void bound_by_ready(slot& s, double now_s);
  void refresh_pools();
  void find_usable();
  int immovable(const capacity_curve& c) const;
  void limit();
  void take_away(const std::string& device, int count);
  model::solver_variant& line_of(bool acts, std::size_t line);
  model::solver_result solve(double now_s);
  model::solver_result solve(model::solver_input& input, bool acts);
  void note_present(model::solver_input& input, bool acts) const;
  void keep_all(std::optional<int> except);
  void note_grant(slot& s, const pool* p) const;
  std::optional<int> exchange(const model::solver_result& result, double now_s);
  void leave_rest(const model::solver_input& input, bool acts, model::solver_result& result) const;
  void note_gains(bool acts, const std::vector<std::optional<model::gpu_gain>>& gains);
  bool better_stays(const slot& s, const model::solver_choice& choice, const std::vector<int>& used) const;
  bool grows_first(const slot& s, const model::solver_choice& choice, std::vector<int>& used) const;
  int room_for(const std::string& device, int units, const std::vector<int>& used);
  void follow_load(decision& d, std::vector<int>& used);
  model::solver_candidate surging(const capacity_curve& c);
  model::solver_candidate kept(const capacity_curve& c, int replicas);
  void count_held(model::solver_result& result) const;
  gpu_count gpus_of(const slot& s, const decision& d);
  decision decide(const slot& s, const model::solver_choice& choice) const;
  decision decide_held(const slot& s, const model::solver_choice& choice) const;
  decision decide_part(const slot& s, const pool& p) const;

  std::map<variant_key, slot> slots_;
  /// What one GPU more would change, by index into input_.capacity; those beyond its end are not known.
  std::vector<std::optional<model::gpu_gain>> one_more_;
  std::set<variant_key> wakers_;       ///< those with nothing running for which requests wait
  std::map<std::string, pool> pools_;  ///< by namespace and name
  model::solver_input input_{
      {}, {}, {false, false, model::saturation_policy::priority_exhaustive, model::solver_kind::automatic, false}, true, true};
  /// The same lines for variants and pools that do not act, as far as there are any; a line has its candidates in one of the two.
  model::solver_input advice_{};
  std::vector<model::solver_choice> choices_;  ///< of the plan before
  std::vector<std::size_t> free_lines_;
  /// The most important class of those that act which would gain if replicas were taken from one variant for another.
  struct exchange_watch {
    double next_look_s = 0;
    std::optional<int> rank{};
    std::set<std::size_t> gainers{};  ///< lines that would have gained at each of the looks
    int looks = 0;                    ///< in a row at which it was so
  } watch_;
  std::map<std::string, int> types_;
  std::shared_ptr<const capacity_view> capacity_;
  std::map<std::string, int> usable_;  ///< GPUs by device that this plan may use; empty: they do not limit
  std::set<std::string> unconfirmed_;  ///< devices of which more replicas are Ready than nodes report GPUs for
};

}  // namespace inferno::actors
