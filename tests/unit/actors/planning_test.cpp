// What the planner makes of the solver's plan for variants that do not get all they want.
#include "actors/planning.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using ::testing::HasSubstr;

struct wish {
  std::string accelerator;
  int replicas;
  double per_min;  ///< that a replica serves
  double cents;
};

/// A variant with `has` replicas on `in_use`, and what it wants; on device "dev ACCELERATOR", a GPU a replica.
std::shared_ptr<capacity_curve> curve(const std::string& name, int priority, const std::string& in_use, int has,
                                      const std::vector<wish>& wishes) {
  auto c = std::make_shared<capacity_curve>();
  c->key = {"ns", name};
  c->priority = priority;
  c->current.accelerator = in_use;
  c->current.num_replicas = has;
  c->current_device = "dev " + in_use;
  c->metrics.status = true;
  c->actuate = true;
  for (const auto& w : wishes) {
    model::solver_candidate candidate;
    candidate.units_per_replica = 1;
    auto& a = candidate.alloc;
    a.accelerator = w.accelerator;
    a.num_replicas = w.replicas;
    a.max_rate_per_replica = model::req_rate::per_min(w.per_min);
    a.cost.cents = w.cents * w.replicas;
    if (w.accelerator == in_use) c->current.cost.cents = w.cents * has;
    c->candidates.push_back(candidate);
  }
  for (auto& s : c->candidates)
    s.alloc.value = model::transition_value(c->current, s.alloc.accelerator, s.alloc.num_replicas, s.alloc.cost);
  std::sort(c->candidates.begin(), c->candidates.end(),
            [](const auto& x, const auto& y) { return x.alloc.value < y.alloc.value; });
  for (const auto& s : c->candidates) c->device_of.push_back("dev " + s.alloc.accelerator);
  return c;
}

/// On hold, the load known, for a target that nothing meets.
std::shared_ptr<capacity_curve> infeasible(const std::string& name, int priority, int has) {
  auto c = curve(name, priority, "A", has, {});
  c->hold = true;
  c->hold_reason = "Infeasible";
  c->yields = true;
  c->current.cost.cents = 40.0 * has;
  return c;
}

std::shared_ptr<capacity_view> gpus(std::map<std::string, int> by_device) {
  auto out = std::make_shared<capacity_view>();
  out->known = true;
  for (const auto& [name, n] : by_device) out->by_device["dev " + name] = n;
  return out;
}

std::string decided(const plan_snapshot& plan, const std::string& name) {
  const auto d = plan.decisions.find({"ns", name});
  return fmt::format("{} x {}", d->desired.num_replicas, d->desired.accelerator);
}

// 8 A carry the load and 1 is there: they are started first, and moved when they carry it.
TEST(Planning, NoMoveBeginsInOverload) {
  const std::vector<wish> wishes{{"A", 8, 25, 40}, {"B", 3, 87, 15}};
  planner p;
  p.set_capacity(gpus({{"A", 8}, {"B", 3}}));
  p.set_curve(curve("v", 1, "A", 1, wishes));
  EXPECT_EQ(decided(*p.plan(1, "", 0), "v"), "8 x A");
  p.set_curve(curve("v", 1, "A", 8, wishes));
  EXPECT_EQ(decided(*p.plan(2, "", 0), "v"), "3 x B");
  p.set_capacity(gpus({{"A", 7}, {"B", 3}}));
  p.set_curve(curve("v", 1, "A", 1, wishes));
  EXPECT_EQ(decided(*p.plan(3, "", 0), "v"), "3 x B") << "there are not as many A";
}

// Two of five A that a move asks for are there, and 2 B are on their way: it holds no more than these.
TEST(Planning, AMoveHoldsTheGpusOfTheReplicasThereAre) {
  auto moving = curve("moving", 2, "A", 5, {});
  moving->hold = true;
  moving->hold_reason = "AcceleratorChanging";
  moving->ready = 2;
  moving->change = std::make_shared<accelerator_change>(accelerator_change{"A", "B", 2});
  change_load needs;
  needs.device = "dev B";
  needs.old_replicas = needs.new_replicas = 2;
  moving->change_needs = std::make_shared<change_load>(needs);
  planner p;
  p.set_capacity(gpus({{"A", 6}, {"B", 3}}));
  p.set_curve(moving);
  p.set_curve(curve("other", 1, "A", 4, {{"A", 4, 25, 40}}));
  const auto plan = p.plan(1, "", 0);
  EXPECT_EQ(decided(*plan, "other"), "4 x A");
  EXPECT_EQ(decided(*plan, "moving"), "2 x B");
}

// 22 A or 7 B are wanted, 4 A are there; there are 6 A and 3 B. 3 B serve 39 % more than 6 A.
TEST(Planning, APartOfAnotherAcceleratorIsAppliedThere) {
  planner p;
  p.set_curve(curve("v", 1, "A", 4, {{"A", 22, 10, 40}, {"B", 7, 31.4, 100}}));
  p.set_capacity(gpus({{"A", 6}, {"B", 3}}));
  const auto plan = p.plan(1, "start", 0);
  EXPECT_EQ(decided(*plan, "v"), "3 x B");
  EXPECT_EQ(plan->decisions.find({"ns", "v"})->reason, "CapacityLimited");
}

TEST(Planning, APartOfAnotherAcceleratorThatServesLessIsNotTaken) {
  planner p;
  p.set_curve(curve("v", 1, "A", 4, {{"A", 22, 10, 40}, {"B", 7, 31.4, 100}}));
  p.set_capacity(gpus({{"A", 6}, {"B", 1}}));
  EXPECT_EQ(decided(*p.plan(1, "start", 0), "v"), "6 x A") << "6 A serve twice what 1 B does";
  // Once on B it stays there as long as that is more.
  planner other;
  other.set_curve(curve("v", 1, "B", 3, {{"A", 22, 10, 40}, {"B", 7, 31.4, 100}}));
  other.set_capacity(gpus({{"A", 6}, {"B", 3}}));
  EXPECT_EQ(decided(*other.plan(1, "start", 0), "v"), "3 x B");
}

/// Policies that leave GPUs to nobody take none from a variant that is short of them.
TEST(Planning, NoPolicyTakesFromAnOverloadedVariantWhatNobodyElseGets) {
  using enum model::saturation_policy;
  for (const auto policy : {none, priority_exhaustive, priority_round_robin, round_robin}) {
    SCOPED_TRACE(static_cast<int>(policy));
    planner p;
    p.set_saturation(policy);
    p.set_curve(curve("v", 1, "A", 2, {{"A", 4, 10, 40}}));
    p.set_capacity(gpus({{"A", 3}}));
    auto plan = p.plan(1, "start", 0);
    EXPECT_GE(plan->decisions.find({"ns", "v"})->desired.num_replicas, 2);
    EXPECT_EQ(plan->decisions.find({"ns", "v"})->reason, "CapacityLimited");
    // What an overloaded variant has is not taken from it to satisfy a less important one.
    p.set_curve(curve("v", 1, "A", 2, {{"A", 6, 10, 40}}));
    p.set_curve(curve("w", 5, "A", 2, {{"A", 3, 10, 40}}));
    p.set_curve(curve("x", 0, "A", 1, {{"A", 9, 10, 40}}));
    p.set_capacity(gpus({{"A", 5}}));
    plan = p.plan(2, "interval", 0);
    if (policy != none) continue;
    EXPECT_EQ(decided(*plan, "x"), "1 x A");
    EXPECT_EQ(decided(*plan, "v"), "2 x A");
    EXPECT_EQ(decided(*plan, "w"), "2 x A");
  }
}

/// Random shortages of one variant: never less than it has.
TEST(Planning, NobodyElseThereNeverLessCapacityThanAtPresent) {
  std::mt19937 engine(7);
  const auto upto = [&](int n) { return std::uniform_int_distribution<>(0, n)(engine); };
  for (int i = 0; i < 500; ++i) {
    SCOPED_TRACE(i);
    std::map<std::string, double> rate{{"A", 5.0 + upto(20)}, {"B", 5.0 + upto(40)}, {"C", 5.0 + upto(40)}};
    const double demand = 100 + upto(400);
    std::vector<wish> wishes;
    for (const auto& [name, r] : rate) wishes.push_back({name, static_cast<int>(std::ceil(demand / r)), r, 10.0 + upto(90)});
    const int has = 1 + upto(5);
    planner p;
    p.set_curve(curve("v", 1, "A", has, wishes));
    p.set_capacity(gpus({{"A", has + upto(3)}, {"B", upto(4)}, {"C", upto(4)}}));
    const auto plan = p.plan(1, "start", 0);
    const auto& d = plan->decisions.find({"ns", "v"})->desired;
    EXPECT_GE(d.num_replicas * rate.at(d.accelerator), std::min(demand, has * rate.at("A")) - 1e-9)
        << decided(*plan, "v") << " instead of " << has << " x A";
  }
}

TEST(Planning, WithoutAGpuElsewhereAVariantStaysWhereItsTargetIsMissed) {
  planner p;
  p.set_curve(curve("v", 1, "A", 4, {{"B", 7, 31.4, 100}}));
  p.set_capacity(gpus({{"A", 6}, {"B", 0}}));
  const auto plan = p.plan(1, "start", 0);
  EXPECT_EQ(decided(*plan, "v"), "4 x A");
  EXPECT_EQ(plan->decisions.find({"ns", "v"})->reason, "CapacityLimited");
}

TEST(Planning, SaysWhatOneGpuMoreWouldChange) {
  planner p;
  p.set_curve(curve("gold", 1, "A", 1, {{"A", 2, 10, 40}}));
  p.set_curve(curve("free", 7, "A", 1, {{"A", 2, 10, 40}}));
  p.set_capacity(gpus({{"A", 3}, {"B", 5}}));
  const auto plan = p.plan(1, "start", 0);
  ASSERT_EQ(decided(*plan, "free"), "1 x A");
  const auto& gain = plan->one_more.at("dev A");
  EXPECT_EQ(gain.satisfied, 1);
  EXPECT_EQ(gain.priority, 7) << "as its class says";
  p.set_capacity(gpus({{"A", 4}, {"B", 5}}));
  EXPECT_FALSE(p.plan(2, "interval", 0)->one_more.at("dev A").any());
  p.set_curve(curve("free", 7, "A", 1, {{"A", 3, 10, 40}}));
  p.set_capacity(gpus({{"A", 3}, {"B", 5}}));
  EXPECT_EQ(p.plan(3, "interval", 0)->one_more.at("dev A").replicas, 1) << "a part of what is wanted";
  // What runs of the other's minReplicas is no GPU for gold.
  p.set_capacity(gpus({{"A", 2}, {"B", 5}}));
  const auto scarce = p.plan(4, "interval", 0);
  EXPECT_EQ(decided(*scarce, "gold"), "1 x A");
  EXPECT_EQ(scarce->one_more.at("dev A").satisfied, 1);
  EXPECT_EQ(scarce->one_more.at("dev A").priority, 1);
}

TEST(Planning, WhatNothingMeetsYieldsGpusToAMoreImportantClass) {
  planner p;
  p.set_curve(infeasible("free", 10, 5));
  p.set_curve(curve("premium", 1, "A", 1, {{"A", 4, 10, 40}}));
  p.set_capacity(gpus({{"A", 6}}));
  const auto plan = p.plan(1, "start", 0);
  EXPECT_EQ(decided(*plan, "premium"), "4 x A");
  EXPECT_EQ(decided(*plan, "free"), "2 x A");
  const auto d = plan->decisions.find({"ns", "free"});
  EXPECT_FALSE(d->hold) << "it is carried out";
  EXPECT_EQ(d->reason, "Infeasible");
  EXPECT_THAT(d->message, HasSubstr("more important classes"));
  EXPECT_DOUBLE_EQ(d->desired.cost.cents, 80);
  EXPECT_EQ(plan->solver.satisfied, 1) << "not the one on hold";
  EXPECT_EQ(plan->solver.satisfiable, 1);
}

TEST(Planning, WhatYieldsKeepsMinReplicasAndWhatNobodyNeeds) {
  planner p;
  p.set_curve(infeasible("free", 10, 5));
  p.set_curve(curve("premium", 1, "A", 1, {{"A", 40, 10, 40}}));
  p.set_capacity(gpus({{"A", 6}}));
  auto plan = p.plan(1, "start", 0);
  EXPECT_EQ(decided(*plan, "free"), "1 x A");
  EXPECT_EQ(decided(*plan, "premium"), "5 x A");
  p.set_curve(curve("premium", 1, "A", 1, {{"A", 1, 10, 40}}));
  plan = p.plan(2, "interval", 0);
  EXPECT_EQ(decided(*plan, "free"), "5 x A");
  EXPECT_TRUE(plan->decisions.find({"ns", "free"})->hold);
}

TEST(Planning, NeitherItsOwnClassNorALessImportantOneTakesWhatIsHeld) {
  planner p;
  p.set_curve(infeasible("held", 5, 5));
  p.set_curve(curve("equal", 5, "A", 1, {{"A", 4, 10, 40}}));
  p.set_curve(curve("less", 9, "A", 0, {{"A", 4, 10, 40}}));
  p.set_capacity(gpus({{"A", 6}}));
  const auto plan = p.plan(1, "start", 0);
  EXPECT_EQ(decided(*plan, "held"), "5 x A");
  EXPECT_EQ(decided(*plan, "equal"), "1 x A");
}

TEST(Planning, SilenceYieldsNothing) {
  planner p;
  auto silent = infeasible("free", 10, 5);
  silent->hold_reason = "MetricsMissing";
  silent->yields = false;
  p.set_curve(silent);
  p.set_curve(curve("premium", 1, "A", 1, {{"A", 4, 10, 40}}));
  p.set_capacity(gpus({{"A", 6}}));
  const auto plan = p.plan(1, "start", 0);
  EXPECT_EQ(decided(*plan, "free"), "5 x A");
  EXPECT_EQ(decided(*plan, "premium"), "1 x A");
}

/// On the way from A to `replicas` x B, `ready` of them Ready.
std::shared_ptr<capacity_curve> surging(const std::string& name, int priority, int has, int replicas, int ready) {
  auto c = curve(name, priority, "A", has, {});
  c->hold = true;
  c->hold_reason = "AcceleratorChanging";
  auto change = std::make_shared<accelerator_change>();
  change->from = "A";
  change->to = "B";
  change->replicas = replicas;
  change->ready = ready;
  c->change = std::move(change);
  c->change_needs = std::make_shared<const change_load>(change_load{"dev B", 1, has, replicas, true});
  return c;
}

TEST(Planning, WhatOnlyStartsOnAnotherAcceleratorGivesWayToAMoreImportantClass) {
  for (const int ready : {0, 1})
    for (const int wanted : {3, 6}) {
      SCOPED_TRACE(::testing::Message() << ready << " ready, " << wanted << " wanted");
      planner p;
      p.set_curve(curve("gold", 1, "B", 2, {{"B", wanted, 10, 40}}));
      p.set_curve(surging("silver", 5, 3, 3, ready));
      p.set_curve(curve("bronze", 9, "B", 0, {{"B", 4, 10, 40}}));
      p.set_capacity(gpus({{"A", 6}, {"B", 6}}));
      const auto plan = p.plan(1, "start", 0);
      const bool gives_way = ready == 0 && wanted == 6;
      EXPECT_EQ(decided(*plan, "gold"), gives_way ? "6 x B" : "3 x B");
      EXPECT_EQ(decided(*plan, "silver"), gives_way ? "3 x A" : "3 x B") << "it keeps its GPUs from its own class and others";
      EXPECT_TRUE(plan->decisions.find({"ns", "silver"})->hold);
    }
}

// An autoscaler scales down when it likes: until then these GPUs are nobody else's. What it only asks for takes none from those
// who have them.
TEST(Planning, WhatAnotherAutoscalerKeepsBeyondWhatIsWantedIsNotGivenToOthers) {
  for (const int ready : {1, 6})
    for (const int minimum : {0, 6}) {
      SCOPED_TRACE(::testing::Message() << ready << " ready, minimum " << minimum);
      planner p;
      auto metric = curve("bronze", 9, "A", ready, {{"A", 1, 10, 40}});
      metric->ready = ready;
      metric->mode = actuation_mode::metric;
      auto autoscaler = std::make_shared<autoscaler_object>();
      autoscaler->min_replicas = minimum;
      autoscaler->max_replicas = 10;
      metric->autoscaler = autoscaler;
      p.set_curve(metric);
      p.set_curve(curve("gold", 1, "A", 1, {{"A", 5, 10, 40}}));
      p.set_capacity(gpus({{"A", 8}}));
      const auto plan = p.plan(1, "start", 0);
      EXPECT_EQ(decided(*plan, "gold"), ready == 6 ? "2 x A" : "5 x A");
      EXPECT_EQ(decided(*plan, "bronze"), "1 x A");
    }
}

// Nodes of 8, 4, 4 and 4 GPUs take one replica of 8: the others' GPUs are no use to a second one.
TEST(Planning, GpusOnSeveralNodesMakeNoReplica) {
  auto gold = curve("gold", 1, "A", 1, {{"A", 5, 10, 40}});
  gold->candidates[0].units_per_replica = gold->current_units = 8;
  gold->target_key = {"Deployment", "ns", "gold"};
  auto nodes = gpus({{"A", 20}});
  nodes->nodes["dev A"] = {{4, 3}, {8, 1}};
  for (const bool curves_first : {true, false}) {
    planner p;
    if (!curves_first) p.set_capacity(nodes);
    p.set_curve(gold);
    p.set_curve(curve("silver", 2, "A", 12, {{"A", 12, 10, 40}}));
    if (curves_first) p.set_capacity(nodes);
    const auto plan = p.plan(1, "start", 0);
    EXPECT_EQ(decided(*plan, "silver"), "12 x A");
    EXPECT_EQ(decided(*plan, "gold"), "1 x A");
    const auto d = plan->decisions.find({"ns", "gold"});
    EXPECT_EQ(d->reason, "CapacityLimited");
    EXPECT_THAT(d->message, HasSubstr("wanted 5 x A, 1 granted: not enough GPUs; a replica takes 8 GPUs of one node"));
    // A second node has room for one.
    auto more = gpus({{"A", 24}});
    more->nodes["dev A"] = {{4, 2}, {8, 2}};
    p.set_capacity(more);
    EXPECT_EQ(decided(*p.plan(2, "nodes", 1), "gold"), "2 x A");
  }
}

// Nothing scales it as far as is known: what it has is kept for it, and what is asked of its target.
TEST(Planning, WhatNobodyStartsTakesNoGpus) {
  for (const bool autoscaler : {false, true}) {
    SCOPED_TRACE(autoscaler);
    planner p;
    p.set_capacity(gpus({{"A", 10}}));
    const auto gold = [&](int has) {
      auto c = curve("gold", 1, "A", has, {{"A", 8, 10, 40}});
      c->mode = actuation_mode::metric;
      c->ready = 2;
      if (!autoscaler) return c;
      auto by = std::make_shared<autoscaler_object>();
      by->max_replicas = 10;
      c->autoscaler = by;
      return c;
    };
    p.set_curve(gold(2));
    p.set_curve(curve("silver", 2, "A", 8, {{"A", 8, 10, 40}}));
    const auto plan = p.plan(1, "start", 0);
    EXPECT_EQ(decided(*plan, "gold"), "8 x A") << "what is published";
    EXPECT_EQ(decided(*plan, "silver"), autoscaler ? "2 x A" : "8 x A") << "an autoscaler is given minutes";
    p.plan(2, "cycle", 10);
    p.plan(3, "cycle", 309);
    EXPECT_EQ(decided(*p.plan(4, "cycle", 311), "silver"), "8 x A");
    const auto d = p.plan(5, "cycle", 312)->decisions.find({"ns", "gold"});
    EXPECT_EQ(d->desired.num_replicas, 8);
    p.set_curve(gold(6));
    EXPECT_EQ(decided(*p.plan(6, "scaled", 320), "silver"), autoscaler ? "2 x A" : "4 x A") << "it is followed after all";
  }
}

/// No HorizontalPodAutoscaler, and somebody who makes the replicas what inferno_desired_replicas says, at once.
TEST(Planning, WhatIsPublishedForWhoeverMayFollowIsWhatIsGrantedThen) {
  for (const int others : {2, 8, 15}) {
    SCOPED_TRACE(others);
    planner p;
    p.set_capacity(gpus({{"A", 20}}));
    p.set_curve(curve("silver", 2, "A", others, {{"A", others, 10, 40}}));
    int has = 5;
    std::vector<int> published;
    for (int cycle = 1; cycle < 8; ++cycle) {
      auto c = curve("gold", 1, "A", has, {{"A", 25, 10, 40}});
      c->mode = actuation_mode::metric;
      p.set_curve(std::move(c));
      const auto d = p.plan(static_cast<std::uint64_t>(cycle), "cycle", 10 * cycle)->decisions.find({"ns", "gold"});
      published.push_back(has = d->desired.num_replicas);
      EXPECT_EQ(d->reason, "CapacityLimited");
    }
    EXPECT_GE(published.front(), 18);
    EXPECT_LE(published.front(), 20);
    EXPECT_THAT(published, ::testing::Each(published.front()));
  }
}

TEST(Planning, MinReplicasAreAskedForWhateverElseIsHeld) {
  for (const char* reason : {"MetricsMissing", "MetricsSourceFailed", "UnknownServiceClass", "Infeasible", "InvalidSpec"}) {
    planner p;
    auto held = infeasible("v", 1, 1);
    held->hold_reason = reason;
    held->yields = false;
    held->min_replicas = 3;
    p.set_curve(held);
    p.set_capacity(gpus({{"A", 8}}));
    const auto plan = p.plan(1, "start", 0);
    const bool valid = std::string_view(reason) != "InvalidSpec";
    EXPECT_EQ(decided(*plan, "v"), valid ? "3 x A" : "1 x A") << reason;
    const auto d = plan->decisions.find({"ns", "v"});
    EXPECT_EQ(d->hold, !valid);
    EXPECT_EQ(d->reason, reason);
  }
}

TEST(Planning, WhatAnAutoscalerIsInTheWayOfIsSaid) {
  planner p;
  auto c = curve("v", 1, "A", 1, {{"A", 4, 10, 40}});
  c->actuate = false;
  c->target = {"TargetResolved", false, "ConflictingAutoscaler", "HorizontalPodAutoscaler h scales Deployment v"};
  p.set_curve(c);
  const auto d = p.plan(1, "start", 0)->decisions.find({"ns", "v"});
  EXPECT_EQ(d->reason, "ConflictingAutoscaler");
  EXPECT_EQ(d->message, "HorizontalPodAutoscaler h scales Deployment v");
}

/// Held for a reason of its own, 10 replicas asked for and `ready` of them Ready.
std::shared_ptr<capacity_curve> silent(int priority, int ready) {
  auto c = infeasible("silent", priority, 10);
  c->hold_reason = "NoReadyPods";
  c->yields = false;
  c->ready = ready;
  return c;
}

// Pods that are only asked for, by a new variant or one with an invalid spec, wait; nobody stops serving for them.
TEST(Planning, ReplicasThatAreNotReadyTakeNoGpusFromAMoreImportantClass) {
  for (const int ready : {0, 4}) {
    SCOPED_TRACE(ready);
    planner p;
    p.set_curve(silent(9, ready));
    p.set_curve(curve("gold", 1, "A", 8, {{"A", 8, 10, 40}}));
    p.set_curve(curve("bronze", 9, "A", 0, {{"A", 4, 10, 40}}));
    p.set_capacity(gpus({{"A", 12}}));
    const auto plan = p.plan(1, "start", 0);
    EXPECT_EQ(decided(*plan, "gold"), "8 x A");
    EXPECT_EQ(decided(*plan, "bronze"), "1 x A") << "minReplicas: the rest is for those that may be starting";
    EXPECT_EQ(decided(*plan, "silent"), "10 x A");
    EXPECT_TRUE(plan->decisions.find({"ns", "silent"})->hold);
  }
  // Of a more important one they are on their way, and others are not to take their GPUs.
  planner p;
  p.set_curve(silent(1, 2));
  p.set_curve(curve("bronze", 9, "A", 2, {{"A", 8, 10, 40}}));
  p.set_capacity(gpus({{"A", 14}}));
  EXPECT_EQ(decided(*p.plan(1, "start", 0), "bronze"), "4 x A");
}

TEST(Planning, NorDoThoseOfADryRunOrOfAClassThatIsNotKnown) {
  for (const bool hold : {false, true})
    for (const bool dry : {false, true}) {
      if (!hold && !dry) continue;
      SCOPED_TRACE(::testing::Message() << "held " << hold << ", dry-run " << dry);
      planner p;
      auto other = hold ? silent(dry ? 9 : 0, 0) : curve("silent", 9, "A", 10, {{"A", 10, 10, 40}});
      if (dry) other->mode = actuation_mode::dry_run;
      other->ready = 0;
      p.set_curve(other);
      p.set_curve(curve("gold", 1, "A", 8, {{"A", 8, 10, 40}}));
      p.set_capacity(gpus({{"A", 12}}));
      EXPECT_EQ(decided(*p.plan(1, "start", 0), "gold"), "8 x A");
    }
}

// No node reports the GPUs that Ready replicas have: one given up is none that another could start with.
TEST(Planning, WhatNoNodeReportsIsTakenFromNobody) {
  for (const int reported : {0, 6, 10}) {
    SCOPED_TRACE(reported);
    planner p;
    p.set_capacity(gpus({{"A", reported}}));
    int gold = 2, silver = 8;
    for (int i = 0; i < 4; ++i) {
      auto g = curve("gold", 1, "A", gold, {{"A", 7, 10, 40}}), s = curve("silver", 5, "A", silver, {{"A", 8, 10, 40}});
      g->ready = std::min(gold, 2);
      s->ready = silver;
      p.set_curve(g);
      p.set_curve(s);
      const auto plan = p.plan(static_cast<std::uint64_t>(i), "interval", 60 * i);
      gold = plan->decisions.find({"ns", "gold"})->desired.num_replicas;
      silver = plan->decisions.find({"ns", "silver"})->desired.num_replicas;
    }
    EXPECT_EQ(gold, reported == 10 ? 7 : 2);
    EXPECT_EQ(silver, reported == 10 ? 3 : 8);
  }
}

// The GPUs of a cordoned node are there for the pods that have them.
TEST(Planning, WhatRunsOnANodeThatTakesNoPodsIsTakenFromNobody) {
  planner p;
  auto view = std::make_shared<capacity_view>(*gpus({{"A", 10}}));
  view->bound[{"ns", "silver"}] = 6;
  p.set_capacity(view);
  p.set_curve(curve("gold", 1, "A", 2, {{"A", 7, 10, 40}}));
  p.set_curve(curve("silver", 5, "A", 8, {{"A", 8, 10, 40}}));
  const auto plan = p.plan(1, "start", 0);
  EXPECT_EQ(decided(*plan, "gold"), "4 x A");
  EXPECT_EQ(decided(*plan, "silver"), "6 x A");
}

// ---- in the running controller ------------------------------------------------------------------------------------------------

/// 100 requests a minute want four replicas; there are GPUs for two.
TEST(Planning, InTheControllerWhatIsPredictedIsOfTheReplicasGranted) {
  for (const auto* policy : {"None", "PriorityExhaustive"}) {
    SCOPED_TRACE(policy);
    world w;
    load_each(w, {{"v", 100}});
    auto configs = default_configs();
    configs[0] = settings_json({{"GLOBAL_OPT_INTERVAL", "60s"}, {"SATURATION_POLICY", policy}});
    populate(w, {"v"}, {va_json("llm", "v")}, 2, configs);
    w.changed("nodes", node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 2));
    w.advance(std::chrono::seconds(200));
    EXPECT_TRUE(w.scale_patches("v").empty()) << "two are overloaded, and there are no more";
    EXPECT_THAT(w.condition_of("OptimizationReady", "v"), HasSubstr("False CapacityLimited"));
    const auto& desired = w.view->plan()->decisions.find({"llm", "v"})->desired;
    EXPECT_EQ(desired.num_replicas, 2);
    EXPECT_NEAR(desired.itl_ms, 20.58 + 0.41 * 4, 0.2) << "full batches";
    EXPECT_GT(desired.wait_ms, 1000) << "and queues: four would wait less than 500 ms";
  }
}

/// `targets` that no number of replicas meets.
world& with_an_impossible_class(world& w, bool reports) {
  auto configs = default_configs();
  auto classes = default_classes();
  classes["freemium.yaml"] = "name: Freemium\npriority: 10\ndata:\n  - model: default\n    slo-itl: 1\n";
  configs[2] = config_json(std::string(classes_map), classes);
  auto free = va_json("llm", "free");
  free["spec"].as_object()["sloClassRef"] = json::object{{"name", "Freemium"}, {"key", "freemium.yaml"}};
  load_each(w, {{"free", 50}, {"premium", 100}},
            [reports](pod_sample& s) { return reports || s.pod.name.rfind("free", 0) != 0; });
  populate(w, {"premium"}, {va_json("llm", "premium"), free}, 1, configs);
  w.changed("deployments", deployment_json("llm", "free", 5));
  for (int i = 0; i < 5; ++i) w.changed("pods", pod_json("llm", fmt::format("free-{}", i), "free"));
  w.changed("nodes", node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 6));
  w.advance(std::chrono::seconds(200));
  return w;
}

TEST(Planning, InTheControllerPremiumGetsTheGpusOfWhatNothingMeets) {
  world w;
  with_an_impossible_class(w, true);
  EXPECT_EQ(w.scale_patches("premium").back(), 4) << "100 requests a minute, 25.3 a replica";
  EXPECT_EQ(w.scale_patches("free").back(), 2);
  EXPECT_THAT(w.condition_of("OptimizationReady", "free"), HasSubstr("False Infeasible"));
}

TEST(Planning, InTheControllerSilentServersKeepTheirGpus) {
  world w;
  with_an_impossible_class(w, false);
  EXPECT_TRUE(w.scale_patches("free").empty());
}

}  // namespace
}  // namespace inferno::actors::testing
