// Kubernetes objects and ConfigMaps as text, and what the controller makes of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/config_maps.hpp"
#include "actors/decode.hpp"
#include "world.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

// ---- VariantAutoscaling
// ---------------------------------------------------------------------------------------------------------

TEST(DecodeVariant, ReadsTheQuickStartsObject) {
  const auto v = decode_variant(va_json("llm", "vllme"));
  EXPECT_EQ(v.problem, "");
  EXPECT_EQ(v.key, (variant_key{"llm", "vllme"}));
  EXPECT_EQ(v.uid, "va-llm-vllme");
  EXPECT_EQ(v.generation, 1);
  EXPECT_EQ(v.model_id, "default");
  EXPECT_EQ(v.class_name, "premium-slo");
  EXPECT_EQ(v.class_key, "default");
  EXPECT_EQ(v.accelerator_label, "A100");
  EXPECT_EQ(v.target.kind, "Deployment");
  EXPECT_EQ(v.target.name, "vllme") << "its own name when scaleTargetRef is absent";
  EXPECT_TRUE(v.keep_accelerator);
  EXPECT_FALSE(v.min_replicas);
  EXPECT_FALSE(v.max_replicas);
  ASSERT_THAT(v.profiles, SizeIs(3));
  EXPECT_EQ(v.profiles[1].acc, "MI300X");
  EXPECT_EQ(v.profiles[0].model, "default");
  EXPECT_DOUBLE_EQ(std::get<model::linear_profile>(v.profiles[0].params).alpha_ms, 20.58);
  EXPECT_DOUBLE_EQ(std::get<model::linear_profile>(v.profiles[0].params).beta_ms, 0.41);
  EXPECT_EQ(v.profiles[0].max_batch, 4);
  EXPECT_FALSE(std::get<model::linear_profile>(v.profiles[0].params).has_prefill);
}

TEST(DecodeVariant, ReadsTheOptionalFields) {
  auto o =
      va_json("llm", "a",
              R"(,"minReplicas":0,"maxReplicas":7,"keepAccelerator":false,"scaleTargetRef":{"kind":"Deployment","name":"b"})");
  o["metadata"].as_object()["ownerReferences"] = json::parse(
      R"([{"kind":"ReplicaSet","uid":"1"},{"kind":"Deployment","name":"b","uid":"2"},{"kind":"Deployment","name":"c","uid":"3"},"nonsense"])");
  const auto v = decode_variant(o);
  EXPECT_EQ(v.problem, "");
  EXPECT_EQ(v.min_replicas, 0);
  EXPECT_EQ(v.max_replicas, 7);
  EXPECT_FALSE(v.keep_accelerator);
  EXPECT_EQ(v.target.name, "b");
  EXPECT_EQ(v.owner_uid, "2");
}

variant_object with_profile(const std::string& entry) {
  auto o = va_json("llm", "a");
  o["spec"].as_object()["modelProfile"] = json::parse(R"({"accelerators":[)" + entry + "]}");
  return decode_variant(o);
}

TEST(DecodeVariant, ReadsPerformanceParametersOfTheNewerForm) {
  const auto v = with_profile(
      R"({"acc":"H100","perfParms":{"decodeParms":{"alpha":"6.9","beta":0.027},"prefillParms":{"gamma":"5.2","delta":"0.1"}},"maxBatchSize":"64"})");
  EXPECT_EQ(v.problem, "");
  ASSERT_THAT(v.profiles, SizeIs(1));
  const auto& p = std::get<model::linear_profile>(v.profiles[0].params);
  EXPECT_DOUBLE_EQ(p.alpha_ms, 6.9);
  EXPECT_DOUBLE_EQ(p.beta_ms, 0.027) << "numbers are as good as text";
  EXPECT_TRUE(p.has_prefill);
  EXPECT_DOUBLE_EQ(p.gamma_ms, 5.2);
  EXPECT_DOUBLE_EQ(p.delta_ms, 0.1);
  EXPECT_EQ(v.profiles[0].max_batch, 64);
  EXPECT_EQ(v.profiles[0].acc_count, 1);
}

TEST(DecodeVariant, ReadsIterationParametersAndKvMemory) {
  const auto v = with_profile(
      R"({"acc":"H100","perfParms":{"iterationParms":{"alpha":"6.9","beta":"0.02","gamma":0.0001,"maxBatchedTokens":"2048"}},"maxBatchSize":256,"kvCacheGiB":"12.5","kvBytesPerToken":"131072"})");
  EXPECT_EQ(v.problem, "");
  ASSERT_THAT(v.profiles, SizeIs(1));
  EXPECT_EQ(std::get<model::iteration_profile>(v.profiles[0].params), (model::iteration_profile{6.9, 0.02, 0.0001, 2048}));
  EXPECT_EQ(v.profiles[0].kv, (model::kv_memory{12.5 * (1 << 30), 131072}));
}

TEST(DecodeVariant, ReadsThePool) {
  EXPECT_EQ(decode_variant(va_json("llm", "a")).pool, "off");
  auto o = va_json("llm", "a");
  o["metadata"].as_object().erase("annotations");
  EXPECT_EQ(decode_variant(o).pool, "");
}

TEST(DecodeVariant, NamesTheFieldAndTheValueThatIsWrong) {
  const std::string at = "spec.modelProfile.accelerators[0]";
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"({"acc":"A100","beta":"1"})", at + ".alpha: required"},
      {R"({"acc":"A100","alpha":"1e999","beta":"1"})", at + R"(.alpha: expected a number from 0 to 1000000, got "1e999")"},
      {R"({"acc":"A100","alpha":"nan","beta":"1"})", at + R"(.alpha: expected a number from 0 to 1000000, got "nan")"},
      {R"({"acc":"A100","alpha":"inf","beta":"1"})", at + R"(.alpha: expected a number from 0 to 1000000, got "inf")"},
      {R"({"acc":"A100","alpha":"","beta":"1"})", at + R"(.alpha: expected a number from 0 to 1000000, got "")"},
      {R"({"acc":"A100","alpha":"20.58ms","beta":"1"})", at + R"(.alpha: expected a number from 0 to 1000000, got "20.58ms")"},
      {R"({"acc":"A100","alpha":-1,"beta":"1"})", at + ".alpha: expected a number from 0 to 1000000, got -1"},
      {R"({"acc":"A100","alpha":null,"beta":"1"})", at + ".alpha: expected a number from 0 to 1000000, got null"},
      {R"({"acc":"A100","alpha":[1],"beta":"1"})", at + ".alpha: expected a number from 0 to 1000000, got [1]"},
      {R"({"acc":"A100","alpha":"1","beta":"x"})", at + R"(.beta: expected a number from 0 to 1000000, got "x")"},
      {R"({"acc":"A100","alpha":0,"beta":0})", at + ": alpha and beta are both 0"},
      {R"({"acc":"","alpha":1,"beta":1})", at + ".acc: must not be empty"},
      {R"({"acc":3,"alpha":1,"beta":1})", at + ".acc: must not be empty"},
      {R"({"acc":"A100","alpha":1,"beta":1,"accCount":0})", at + ".accCount: expected a whole number from 1 to 1024, got 0"},
      {R"({"acc":"A100","alpha":1,"beta":1,"maxBatchSize":65537})",
       at + ".maxBatchSize: expected a whole number from 1 to 65536, got 65537"},
      {R"({"acc":"A100","alpha":1,"beta":1,"kvCacheGiB":"0"})",
       at + R"(.kvCacheGiB: expected a number above 0 and up to 1000000, got "0")"},
      {R"({"acc":"A100","alpha":"1000001","beta":1})", at + R"(.alpha: expected a number from 0 to 1000000, got "1000001")"},
      {R"({"acc":"A100","alpha":1,"beta":1,"maxBatchSize":2.5})", at + ".maxBatchSize: expected a whole number from 1"},
      {R"({"acc":"A100","perfParms":{"decodeParms":{"beta":"1"}}})", at + ".perfParms.decodeParms.alpha: required"},
      {R"({"acc":"A100","perfParms":"fast"})", at + ".perfParms.decodeParms.alpha: required"},
      {R"({"acc":"A100","perfParms":{"decodeParms":{"alpha":1,"beta":1},"prefillParms":{"gamma":"?"}}})",
       at + R"(.perfParms.prefillParms.gamma: expected a number from 0 to 1000000, got "?")"},
      {R"({"acc":"A100","perfParms":{"iterationParms":{"alpha":1,"beta":1}}})", at + ".perfParms.iterationParms.gamma: required"},
      {R"({"acc":"A100","perfParms":{"iterationParms":7}})", at + ".perfParms.iterationParms.alpha: required"},
      {R"({"acc":"A100","perfParms":{"iterationParms":{"alpha":1,"beta":1,"gamma":0,"maxBatchedTokens":0}}})",
       at + ".perfParms.iterationParms.maxBatchedTokens: expected a whole number from 1"},
      {R"({"acc":"A100","alpha":1,"beta":1,"kvCacheGiB":"much"})",
       at + R"(.kvCacheGiB: expected a number above 0 and up to 1000000, got "much")"},
      {R"({"acc":"A100","alpha":1,"beta":1,"kvBytesPerToken":-1})",
       at + ".kvBytesPerToken: expected a number above 0 and up to 1000000000, got -1"},
      {R"({"acc":"A100","alpha":1,"beta":1,"kvCacheGiB":1})", at + ".kvBytesPerToken: required with kvCacheGiB"},
      {R"({"acc":"A100","alpha":1,"beta":1,"kvBytesPerToken":1})", at + ".kvCacheGiB: required with kvBytesPerToken"},
      {R"({"acc":"A100","alpha":1,"beta":1,"kvCacheGiB":"0.0001","kvBytesPerToken":"131072"})",
       at + ".kvCacheGiB: 0.0001 GiB do not hold one token, which takes kvBytesPerToken 131072"},
      {R"({"acc":"A100","perfParms":{"decodeParms":{"alpha":1,"beta":1},"iterationParms":{"alpha":1,"beta":1,"gamma":0}}})",
       at + ".perfParms: iterationParms and decodeParms are given; a profile has one form"},
      {R"({"acc":"A100","perfParms":{"prefillParms":{"gamma":1,"delta":1},"iterationParms":{"alpha":1,"beta":1,"gamma":0}}})",
       at + ".perfParms: iterationParms and prefillParms are given; a profile has one form"},
      {R"({"acc":"A100","alpha":1,"perfParms":{"decodeParms":{"alpha":1,"beta":1}}})",
       at + ": alpha and perfParms are given; a profile has one form"},
      {R"({"acc":"A100","beta":1,"perfParms":{"iterationParms":{"alpha":1,"beta":1,"gamma":0}}})",
       at + ": beta and perfParms are given; a profile has one form"},
      {"17", at + ": expected an object"},
  };
  for (const auto& [entry, problem] : cases) {
    const auto v = with_profile(entry);
    EXPECT_THAT(v.problem, HasSubstr(problem)) << entry;
    EXPECT_THAT(v.profiles, IsEmpty()) << entry;
  }
}

TEST(DecodeVariant, SurvivesAnything) {
  for (const char* text : {"{}", R"({"metadata":3})", R"({"metadata":{"name":["x"]},"spec":null})",
                           R"({"spec":{"modelID":{},"sloClassRef":"x","modelProfile":[]}})"})
    EXPECT_THAT(decode_variant(parse_object(text)).problem, HasSubstr("spec.modelID")) << text;
}

// ---- Deployments, pods, nodes
// ---------------------------------------------------------------------------------------------------

TEST(DecodeDeployment, ReadsReplicasAndSelector) {
  const auto d = decode_workload(deployment_json("llm", "vllme", 3), "Deployment");
  EXPECT_EQ(d.replicas, 3);
  EXPECT_THAT(d.selector, ElementsAre(Pair("app", "vllme")));
  const auto bare =
      decode_workload(parse_object(R"({"metadata":{"namespace":"a","name":"b"},"spec":{"replicas":"many"}})"), "Deployment");
  EXPECT_EQ(bare.replicas, 1) << "Kubernetes' default";
}

TEST(DecodePod, ReadsWhereAndWhetherItServes) {
  const auto p = decode_pod(pod_json("llm", "vllme-0", "vllme", true, "n7", 2));
  EXPECT_EQ(p.ip, "127.0.0.2");
  EXPECT_EQ(p.port, 8000);
  EXPECT_EQ(p.node, "n7");
  EXPECT_EQ(p.gpus, 2);
  EXPECT_TRUE(p.ready);
  EXPECT_FALSE(p.terminal);
  EXPECT_FALSE(decode_pod(pod_json("llm", "vllme-0", "vllme", false)).ready);
}

TEST(DecodePod, APodThatIsBeingDeletedIsNotReady) {
  auto o = pod_json("llm", "vllme-0", "vllme");
  o["metadata"].as_object()["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  EXPECT_FALSE(decode_pod(o).ready);
}

TEST(DecodePod, FinishedPodsHoldNothing) {
  for (const char* phase : {"Succeeded", "Failed"}) {
    auto o = pod_json("llm", "vllme-0", "vllme");
    o["status"].as_object()["phase"] = phase;
    EXPECT_TRUE(decode_pod(o).terminal) << phase;
  }
}

pod_object with_containers(const std::string& containers) {
  auto o = pod_json("llm", "p", "a");
  o["spec"].as_object()["containers"] = json::parse(containers);
  return decode_pod(o);
}

TEST(DecodePod, PrefersThePortNamedHttp) {
  EXPECT_EQ(
      with_containers(R"([{"ports":[{"name":"admin","containerPort":9}]},{"ports":[{"name":"http","containerPort":81}]}])").port,
      81);
  EXPECT_EQ(with_containers(R"([{"ports":[{"containerPort":9},{"containerPort":10}]}])").port, 9) << "else the first";
  EXPECT_EQ(with_containers("[{}]").port, 8000) << "else vLLM's own";
}

TEST(DecodePod, AddsUpCardsOverContainersAndVendors) {
  EXPECT_EQ(with_containers(R"([{"resources":{"limits":{"nvidia.com/gpu":"2"},"requests":{"nvidia.com/gpu":"2"}}},
                                {"resources":{"requests":{"amd.com/gpu":1}}},{"resources":{"limits":{"cpu":"4"}}}])")
                .gpus,
            3);
  EXPECT_EQ(with_containers(R"([{"resources":{"limits":{"nvidia.com/gpu":"two"}}}, 5])").gpus, 0);
}

TEST(DecodeNode, ReadsEachVendorsCards) {
  const auto n = decode_node(node_json("n1", "amd", "AMD-MI300X-192G", 8));
  ASSERT_THAT(n.gpus, SizeIs(1));
  EXPECT_EQ(n.gpus[0].product, "AMD-MI300X-192G");
  EXPECT_EQ(n.gpus[0].count, 8);
  EXPECT_EQ(n.gpus[0].memory_mib, 81920);
}

TEST(DecodeNode, ACordonedNodeIsMarked) {
  auto o = node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 8);
  EXPECT_FALSE(decode_node(o).closed);
  o["spec"] = json::object{{"unschedulable", true}};
  EXPECT_TRUE(decode_node(o).closed);
}

/// Every number of a VariantAutoscaling, an accelerator and a class, with spellings that are no numbers and beyond any limit.
TEST(NumbersFromOutside, AreCheckedByNameWhereverTheyStand) {
  const char* const odd[] = {"",    " ",    " 5",  "5 ",  "+5",  "-1", "0x10", "1e400", "1e-400", "NaN",  "nan",
                             "inf", "-inf", "1,5", "1_0", "5ms", "1e", "e5",   "true",  "null",   "1e17", "1e300"};
  for (const std::string text : odd) {
    SCOPED_TRACE(text);
    const auto value = json::serialize(json::value(text));
    for (const char* field : {"accCount", "maxBatchSize", "atTokens", "alpha", "beta", "kvCacheGiB", "kvBytesPerToken"}) {
      auto entry = parse_object(R"({"acc":"A100","accCount":1,"alpha":1,"beta":1,"maxBatchSize":4})");
      entry[field] = text;
      const auto v = with_profile(json::serialize(entry));
      EXPECT_THAT(v.problem, StartsWith(fmt::format("spec.modelProfile.accelerators[0].{}: expected ", field)));
      EXPECT_THAT(v.problem, HasSubstr("got " + value));
      EXPECT_THAT(v.profiles, IsEmpty());
    }
    for (const char* field : {"minReplicas", "maxReplicas"}) {
      auto o = va_json("llm", "a");
      o["spec"].as_object()[field] = text;
      const auto v = decode_variant(o);
      EXPECT_THAT(v.problem, StartsWith(fmt::format("spec.{}: expected a whole number from ", field)));
      EXPECT_EQ(std::string_view(field) == "minReplicas" ? v.min_replicas : v.max_replicas, std::nullopt);
    }
    config_reader r{runtime_settings{}};
    for (const char* field : {"cost", "multiplicity"}) {
      auto entry = parse_object(R"({"device":"d","cost":1})");
      entry[field] = text;
      const auto problems = r.read_accelerators({{"A100", json::serialize(entry)}});
      ASSERT_THAT(problems, SizeIs(1)) << field;
      EXPECT_THAT(problems[0].message, StartsWith(fmt::format("{}: expected ", field)));
    }
    for (const char* field : {"slo-itl", "slo-tpot", "slo-ttft", "slo-ttw", "slo-tps", "slo-ttft-percentile"}) {
      const auto problems =
          r.read_classes({{"a", fmt::format("name: A\npriority: 1\ndata:\n  - {{model: m, {}: {}}}\n", field, value)}});
      ASSERT_THAT(problems, SizeIs(1)) << field;
      EXPECT_THAT(problems[0].message, StartsWith(fmt::format("data[0].{}: expected ", field)));
    }
  }
}

TEST(DecodeNode, ANodeThatTakesNoPodsIsMarked) {
  const auto closed = [](const char* metadata, const char* spec, const char* status) {
    auto o = node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 8);
    for (const auto& [name, value] : parse_object(metadata)) o["metadata"].as_object()[name] = value;
    o["spec"] = json::parse(spec);
    for (const auto& [name, value] : parse_object(status)) o["status"].as_object()[name] = value;
    return decode_node(o).closed;
  };
  EXPECT_FALSE(closed("{}", "{}", "{}")) << "without the condition the taints decide";
  EXPECT_FALSE(
      closed("{}", "{}", R"({"conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True"}]})"));
  EXPECT_TRUE(closed("{}", "{}", R"({"conditions":[{"type":"Ready","status":"False"}]})"));
  EXPECT_TRUE(closed("{}", "{}", R"({"conditions":[{"type":"Ready","status":"Unknown"}]})"));
  EXPECT_TRUE(closed(R"({"deletionTimestamp":"2026-01-01T00:00:00Z"})", "{}", "{}"));
  EXPECT_TRUE(closed("{}", R"({"taints":[{"key":"node.kubernetes.io/unreachable","effect":"NoExecute"}]})", "{}"));
  EXPECT_TRUE(closed("{}", R"({"taints":[{"key":"node.kubernetes.io/disk-pressure","effect":"NoSchedule"}]})", "{}"));
  EXPECT_TRUE(closed("{}", R"({"taints":[{"key":"ToBeDeletedByClusterAutoscaler","effect":"NoSchedule"}]})", "{}"));
  EXPECT_FALSE(closed("{}", R"({"taints":[{"key":"nvidia.com/gpu","value":"present","effect":"NoSchedule"}]})", "{}"))
      << "the pods that want GPUs tolerate that";
  EXPECT_FALSE(closed("{}", R"({"taints":[{"key":"node.kubernetes.io/odd","effect":"PreferNoSchedule"}, 7]})", "{}"));
}

TEST(DecodeNode, CountsAreQuantities) {
  const auto count = [](const json::value& cards) {
    auto o = node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 8);
    o["status"].as_object()["allocatable"].as_object()["nvidia.com/gpu"] = cards;
    const auto n = decode_node(o);
    return n.gpus.empty() ? 0 : n.gpus[0].count;
  };
  EXPECT_EQ(count("16"), 16);
  EXPECT_EQ(count(16), 16);
  EXPECT_EQ(count("1k"), 1000) << "so the API server shortens 1000";
  EXPECT_EQ(count("2Ki"), 2048);
  for (const char* odd : {"", "k", "-4", "1.5", "0x10", "1e400", "nan", " 5", "+5", "9999999999", "99M99"})
    EXPECT_EQ(count(odd), 0) << odd;
}

// ---- ConfigMaps
// -----------------------------------------------------------------------------------------------------------------

TEST(Durations, AreReadAsGoWritesThem) {
  const std::vector<std::pair<std::string, std::chrono::milliseconds>> good{
      {"60s", 60s}, {"1m30s", 90s},       {"500ms", 500ms},         {"1h", 1h},     {"1.5h", 90min}, {"0s", 0ms},
      {"2m", 2min}, {"1m500ms", 60500ms}, {"1h2m3s4ms", 3723004ms}, {"0.5s", 500ms}};
  for (const auto& [text, expected] : good) {
    const auto d = parse_duration(text);
    ASSERT_TRUE(d) << text;
    EXPECT_EQ(*d, expected) << text;
  }
  for (const char* text :
       {"", "60", "s", "-5s", "60 s", " 60s", "60s ", "1d", "infs", "nans", "1e99h", "9999h", "1m30", "soon"}) {
    const auto d = parse_duration(text);
    ASSERT_FALSE(d) << text;
    EXPECT_THAT(d.error(), HasSubstr(fmt::format("\"{}\"", text)));
  }
  EXPECT_EQ(parse_duration("169h").error(), "must be at most 168h, got \"169h\"");
}

TEST(DecodeVariant, AnAcceleratorThatIsThereTwiceIsNamedAndTheFirstEntryCounts) {
  const auto v = with_profile(R"({"acc":"A100","alpha":1,"beta":1,"maxBatchSize":4},{"acc":"A100","alpha":2,"beta":1})");
  EXPECT_EQ(v.problem, R"(spec.modelProfile.accelerators[1].acc: "A100" is that of accelerators[0] already)");
  ASSERT_THAT(v.profiles, SizeIs(1));
  EXPECT_EQ(std::get<model::linear_profile>(v.profiles[0].params).alpha_ms, 1);
  const auto broken = with_profile(R"({"acc":"A100","alpha":"x","beta":1},{"acc":"A100","alpha":2,"beta":1})");
  EXPECT_THAT(broken.problem, HasSubstr("accelerators[0].alpha"));
  EXPECT_THAT(broken.profiles, IsEmpty()) << "which of the two was meant is not known";
}

TEST(Settings, AreReadAndFallBackToTheDefaults) {
  runtime_settings defaults;
  defaults.prometheus.url = "http://default";
  config_reader r(defaults);
  EXPECT_THAT(r.read_settings({{"GLOBAL_OPT_INTERVAL", "30s"},
                               {"SCALE_DOWN_STABILIZATION", "2m"},
                               {"RATE_WINDOW", "45s"},
                               {"PROMETHEUS_BASE_URL", "http://p:9090"},
                               {"GLOBAL_OPT_TRIGGER", "true"},
                               {"SATURATION_POLICY", "RoundRobin"},
                               {"SOLVER", "exact"},
                               {"BATCH_SEARCH", "true"},
                               {"MODEL_POOLS", "false"}}),
              IsEmpty());
  EXPECT_EQ(r.settings().opt_interval, 30s);
  EXPECT_EQ(r.settings().scale_down_stabilization, 2min);
  EXPECT_EQ(r.settings().rate_window, 45s);
  EXPECT_EQ(r.settings().prometheus.url, "http://p:9090");
  EXPECT_TRUE(r.settings().trigger);
  EXPECT_EQ(r.settings().saturation, model::saturation_policy::round_robin);
  EXPECT_EQ(r.settings().solver, model::solver_kind::exact);
  EXPECT_TRUE(r.settings().search_batch);
  EXPECT_FALSE(r.settings().pools);
  EXPECT_THAT(r.read_settings({}), IsEmpty());
  EXPECT_EQ(r.settings(), defaults);
}

TEST(Settings, AnUrlThatIsNoneLeavesTheLastOne) {
  config_reader r{runtime_settings{}};
  EXPECT_THAT(r.read_settings({{"PROMETHEUS_BASE_URL", "https://p:9090"}}), IsEmpty());
  for (const char* text : {"127.0.0.1:9090", "htp://p", "p"}) {
    const auto problems = r.read_settings({{"PROMETHEUS_BASE_URL", text}});
    ASSERT_THAT(problems, SizeIs(1)) << text;
    EXPECT_THAT(problems[0].entry, HasSubstr("/PROMETHEUS_BASE_URL"));
    EXPECT_THAT(problems[0].message, HasSubstr(text));
    EXPECT_EQ(r.settings().prometheus.url, "https://p:9090") << text;
  }
}

TEST(Settings, ATriggerIsTrueOrFalse) {
  config_reader r{runtime_settings{}};
  for (const char* text : {"flase", "no", "off", "FALSE", "yes"}) {
    const auto problems = r.read_settings({{"GLOBAL_OPT_TRIGGER", text}});
    ASSERT_THAT(problems, SizeIs(1)) << text;
    EXPECT_THAT(problems[0].message, StartsWith(fmt::format("expected true or false, got \"{}\"", text)));
    EXPECT_FALSE(r.settings().trigger) << text;
  }
  for (const char* text : {"false", "0", ""}) {
    EXPECT_THAT(r.read_settings({{"GLOBAL_OPT_TRIGGER", text}}), IsEmpty());
    EXPECT_FALSE(r.settings().trigger) << text;
  }
}

TEST(Settings, AnUnknownKeyIsNamedWithTheOneThatWasMeant) {
  config_reader r{runtime_settings{}};
  const auto problems =
      r.read_settings({{"RATEWINDOW", "45s"}, {"model_pools", "false"}, {"TEAM", "llm"}, {"RATE_WINDOW", "30s"}});
  ASSERT_THAT(problems, SizeIs(3));
  EXPECT_EQ(problems[0].entry, std::string(settings_map) + "/RATEWINDOW");
  EXPECT_EQ(problems[0].message, "RATEWINDOW: unknown field; did you mean \"RATE_WINDOW\"?");
  EXPECT_EQ(problems[1].message, "TEAM: unknown field");
  EXPECT_EQ(problems[2].message, "model_pools: unknown field; did you mean \"MODEL_POOLS\"?");
  for (const auto& p : problems) EXPECT_TRUE(p.used) << "a warning";
  EXPECT_EQ(r.settings().rate_window, 30s);
}

TEST(AcceleratorsMap, UnknownAndDuplicateNamesAreNamed) {
  config_reader r{runtime_settings{}};
  r.read_classes({});
  const auto problems = r.read_accelerators({{"A", R"({"device":"D","cost":1,"nodeselector":{"a":"b"},"costs":2})"},
                                             {"B", R"({"device":"D","cost":1,"nodeSelector":{"a":"b","a":"c"}})"}});
  ASSERT_THAT(problems, SizeIs(2));
  EXPECT_TRUE(problems[0].used);
  EXPECT_EQ(problems[0].message,
            "nodeselector: unknown field; did you mean \"nodeSelector\"?; costs: unknown field; did you mean \"cost\"?");
  EXPECT_FALSE(problems[1].used);
  EXPECT_EQ(problems[1].message, "nodeSelector.a: is there twice");
  EXPECT_EQ(r.current()->accelerators.count("A"), 1u) << "what is known of it is used";
  EXPECT_EQ(r.current()->accelerators.count("B"), 0u);
}

TEST(ClassesMap, UnknownAndDuplicateNamesAreNamed) {
  config_reader r{runtime_settings{}};
  r.read_accelerators({});
  const auto problems = r.read_classes(
      {{"a", "name: A\npriority: 1\ntargets: []\ndata:\n  - {model: m, slo_itl: 20}\n  - {model: n, slo-ITL: 20, slo-ttft: 5}\n"},
       {"b", "name: B\npriority: 1\ndata:\n  - {model: m, slo-itl: 20, slo-itl: 30}\n"},
       {"c", "name: C\npriority: 1\npriority: 2\n"},
       {"d", "name: D\npriority: 1\ndata:\n  - {model: m, slo-itl: 20, slo-tpot: 30}\n"},
       {"e", "name: E\npriority: 1\ndata:\n  - {model: m, slo-itl: 20}\n  - {model: m, slo-ttft: 30}\n"}});
  ASSERT_THAT(problems, SizeIs(5));
  EXPECT_EQ(problems[3].message, "data[0].slo-tpot: another name of slo-itl, which is there too");
  EXPECT_EQ(problems[4].message, "data[1].model: \"m\" is there twice");
  EXPECT_TRUE(problems[0].used);
  EXPECT_EQ(
      problems[0].message,
      "targets: unknown field; data[0].slo_itl: unknown field; did you mean \"slo-itl\"?; data[1].slo-ITL: unknown field; did "
      "you mean \"slo-itl\"?");
  EXPECT_EQ(problems[1].message, "data[0].slo-itl: is there twice");
  EXPECT_EQ(problems[2].message, "priority: is there twice");
  ASSERT_THAT(r.current()->classes, SizeIs(1));
  EXPECT_EQ(r.current()->classes[0].spec.targets[1].slo.ttft_ms, 5);
}

TEST(Settings, ABadEntryIsNamedAndKeepsItsLastValue) {
  config_reader r{runtime_settings{}};
  r.read_settings({{"GLOBAL_OPT_INTERVAL", "30s"}, {"SATURATION_POLICY", "None"}});
  const auto problems = r.read_settings({{"GLOBAL_OPT_INTERVAL", "1ms"}, {"SATURATION_POLICY", "Fair"}, {"RATE_WINDOW", "30s"}});
  ASSERT_THAT(problems, SizeIs(2));
  EXPECT_EQ(problems[0].entry, std::string(settings_map) + "/GLOBAL_OPT_INTERVAL");
  EXPECT_THAT(problems[0].message, AllOf(HasSubstr("1ms"), HasSubstr("the last valid value stays")));
  EXPECT_THAT(problems[1].message, HasSubstr("\"Fair\""));
  EXPECT_EQ(r.settings().opt_interval, 30s);
  EXPECT_EQ(r.settings().saturation, model::saturation_policy::none);
  EXPECT_EQ(r.settings().rate_window, 30s) << "good entries beside it are used";
}

// Whoever has mistyped dry-run does not want a fleet scaled.
TEST(Settings, AModeThatWasNeverValidWritesNothing) {
  config_reader r{runtime_settings{}};
  const auto problems = r.read_settings({{"ACTUATION_MODE", "dryrun"}});
  ASSERT_THAT(problems, SizeIs(1));
  EXPECT_THAT(problems[0].message, AllOf(HasSubstr("\"dryrun\""), HasSubstr("dry-run until it is valid")));
  EXPECT_EQ(r.settings().actuation, actuation_mode::dry_run);
  EXPECT_THAT(r.read_settings({{"ACTUATION_MODE", "metric"}}), IsEmpty());
  EXPECT_EQ(r.settings().actuation, actuation_mode::metric);
  const auto later = r.read_settings({{"ACTUATION_MODE", "dryrun"}});
  ASSERT_THAT(later, SizeIs(1));
  EXPECT_THAT(later[0].message, HasSubstr("the last valid value stays"));
  EXPECT_EQ(r.settings().actuation, actuation_mode::metric);
}

TEST(Settings, WhatNoSolverOrSwitchIsCalledIsNamed) {
  config_reader r{runtime_settings{}};
  const auto problems = r.read_settings({{"BATCH_SEARCH", "yes"}, {"MODEL_POOLS", "1"}, {"SOLVER", "cplex"}});
  std::vector<std::string> said;
  for (const auto& p : problems) said.push_back(p.entry + ": " + p.message);
  const std::string map(settings_map);
  EXPECT_THAT(said, UnorderedElementsAre(StartsWith(map + "/SOLVER: expected auto, greedy or exact, got \"cplex\""),
                                         StartsWith(map + "/BATCH_SEARCH: expected true or false, got \"yes\""),
                                         StartsWith(map + "/MODEL_POOLS: expected true or false, got \"1\"")));
  EXPECT_EQ(r.settings(), runtime_settings{});
}

TEST(AcceleratorsMap, IsReadEntryByEntry) {
  config_reader r{runtime_settings{}};
  r.read_classes({});
  const auto problems = r.read_accelerators({{"A100", R"({"device":"NVIDIA-A100","cost":"40.00","multiplicity":"2"})"},
                                             {"G2", R"({"device":"Gaudi","cost":23})"},
                                             {"bad1", "not json"},
                                             {"bad2", R"({"cost":"1"})"},
                                             {"bad3", R"({"device":"d","cost":"-1"})"},
                                             {"bad4", R"({"device":"d","cost":"1","multiplicity":0})"},
                                             {"bad5", R"({"device":"d"})"}});
  ASSERT_THAT(problems, SizeIs(5));
  const char* named[] = {"not json", "device", "-1", "multiplicity", "cost"};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(problems[i].entry, fmt::format("accelerator-unit-costs/bad{}", i + 1));
    EXPECT_THAT(problems[i].message, HasSubstr(named[i]));
  }
  const auto c = r.current();
  ASSERT_TRUE(c);
  ASSERT_THAT(c->accelerators, SizeIs(2));
  EXPECT_DOUBLE_EQ(c->accelerators.at("A100").cost.cents, 40);
  EXPECT_EQ(c->accelerators.at("A100").multiplicity, 2);
  EXPECT_EQ(c->accelerators.at("G2").type, "Gaudi");
}

TEST(ClassesMap, IsReadEntryByEntry) {
  config_reader r{runtime_settings{}};
  r.read_accelerators({});
  auto problems = r.read_classes(default_classes());
  EXPECT_THAT(problems, IsEmpty());
  const auto c = r.current();
  ASSERT_TRUE(c);
  ASSERT_THAT(c->classes, SizeIs(2));
  EXPECT_EQ(c->classes[1].entry, "premium.yaml");
  EXPECT_EQ(c->classes[1].spec.name, "Premium");
  EXPECT_EQ(c->classes[1].spec.priority, 1);
  EXPECT_DOUBLE_EQ(c->classes[1].spec.targets.at(0).slo.itl_ms, 24);
  EXPECT_DOUBLE_EQ(c->classes[1].spec.targets.at(0).slo.wait_p95_ms, 500);
  problems = r.read_classes({{"a", "name: [unclosed"},
                             {"b", "just text"},
                             {"c", "name: C\npriority: 1.5\n"},
                             {"d", "name: D\npriority: 1\ndata:\n  - slo-itl: 3\n"},
                             {"e", "name: E\npriority: 1\ndata:\n  - model: m\n    slo-itl: fast\n"},
                             {"f", "name: F\npriority: 1\ndata: {model: m}\n"},
                             {"g", "priority: 1\n"},
                             {"ok", "name: OK\npriority: 2\ndata:\n  - model: m\n    slo-tpot: 30\n    slo-ttft: 400\n"}});
  const char* named[] = {
      "line", "mapping", "priority", "data[0].model", "data[0].slo-itl: expected a number from 0 to 1000000000, got fast",
      "data", "name"};
  ASSERT_THAT(problems, SizeIs(7));
  for (std::size_t i = 0; i < 7; ++i) EXPECT_THAT(problems[i].message, HasSubstr(named[i])) << problems[i].entry;
  const auto next = r.current();
  ASSERT_THAT(next->classes, SizeIs(1)) << "entries that are gone are dropped";
  EXPECT_DOUBLE_EQ(next->classes[0].spec.targets.at(0).slo.itl_ms, 30) << "slo-tpot is the older name";
}

TEST(ClassesMap, ATargetForTheFirstTokenIsAboutTheMeanUnlessItSaysOtherwise) {
  config_reader r{runtime_settings{}};
  r.read_accelerators({});
  const auto problems = r.read_classes(
      {{"a",
        "name: A\npriority: 1\ndata:\n  - {model: m, slo-ttft: 400}\n  - {model: n, slo-ttft: 400, slo-ttft-percentile: p95}\n"},
       {"b", "name: B\npriority: 1\ndata:\n  - {model: m, slo-ttft: 400, slo-ttft-percentile: p100}\n"},
       {"c", "name: C\npriority: 1\ndata:\n  - {model: m, slo-ttft: 400, slo-ttft-percentile: [95]}\n"}});
  const auto c = r.current();
  ASSERT_TRUE(c);
  ASSERT_THAT(c->classes, SizeIs(1));
  EXPECT_EQ(c->classes[0].spec.targets.at(0).slo.ttft_percentile, 0);
  EXPECT_EQ(c->classes[0].spec.targets.at(1).slo.ttft_percentile, 95);
  ASSERT_THAT(problems, SizeIs(2));
  EXPECT_THAT(problems[0].message,
              HasSubstr("data[0].slo-ttft-percentile: expected mean or a percentile between 0 and 100, got p100"));
  EXPECT_THAT(problems[1].message, HasSubstr("data[0].slo-ttft-percentile: expected mean or a percentile"));
}

TEST(ClassesMap, PrioritiesAreFromOneToAHundred) {
  config_reader r{runtime_settings{}};
  r.read_accelerators({});
  const auto yaml = [](const std::string& name, const std::string& priority) {
    return "name: " + name + "\npriority: " + priority + "\ndata: []\n";
  };
  ASSERT_THAT(r.read_classes({{"a", yaml("A", "3")}, {"b", yaml("B", "1")}}), IsEmpty());
  for (const char* bad : {"0", "-5", "101", "1.5", "first", "0x1", "1e400", "+1", "nan", "[1]", "''", "~"}) {
    const auto problems = r.read_classes({{"a", yaml("A", bad)}, {"b", yaml("B", "2")}});
    ASSERT_THAT(problems, SizeIs(1)) << bad;
    EXPECT_EQ(problems[0].entry, "service-classes-config/a");
    EXPECT_THAT(problems[0].message, HasSubstr("priority: expected a whole number from 1 to 100, got ")) << bad;
    const auto c = r.current();
    ASSERT_THAT(c->classes, SizeIs(2));
    EXPECT_EQ(c->classes[0].spec.priority, 3) << "the last valid entry stays";
    EXPECT_EQ(c->classes[1].spec.priority, 2) << "the rest is in force";
  }
  EXPECT_THAT(r.read_classes({{"c", "name: C\ndata: []\n"}}).at(0).message, HasSubstr("priority: expected a whole number"));
}

TEST(ClassesMap, ANameBelongsToOneEntry) {
  config_reader r{runtime_settings{}};
  r.read_accelerators({});
  const auto yaml = [](const std::string& name, int priority) { return fmt::format("name: {}\npriority: {}\n", name, priority); };
  const auto names = [&] {
    std::vector<std::string> out;
    const auto catalog = r.current();
    for (const auto& c : catalog->classes) out.push_back(c.entry + "=" + c.spec.name);
    return out;
  };
  auto problems = r.read_classes({{"b", yaml("Gold", 1)}, {"c", yaml("Gold", 2)}});
  ASSERT_THAT(problems, SizeIs(1));
  EXPECT_EQ(problems[0].entry, "service-classes-config/c");
  EXPECT_EQ(problems[0].message, "name: Gold is the name of the class in b already");
  EXPECT_THAT(names(), ElementsAre("b=Gold"));
  problems = r.read_classes({{"a", yaml("Gold", 9)}, {"b", yaml("Gold", 1)}});
  ASSERT_THAT(problems, SizeIs(1)) << "the entry that has had the name keeps it";
  EXPECT_EQ(problems[0].entry, "service-classes-config/a");
  EXPECT_THAT(names(), ElementsAre("b=Gold"));
  EXPECT_THAT(r.read_classes({{"a", yaml("Gold", 9)}, {"b", yaml("Silver", 1)}}), IsEmpty()) << "names may be exchanged";
  EXPECT_THAT(names(), ElementsAre("a=Gold", "b=Silver"));
  EXPECT_THAT(r.read_classes({{"a", yaml("Silver", 9)}, {"b", yaml("Gold", 1)}}), IsEmpty());
  problems = r.read_classes({{"a", yaml("Silver", 9)}, {"b", yaml("Silver", 1)}});
  ASSERT_THAT(problems, SizeIs(1));
  EXPECT_THAT(problems[0].message, HasSubstr("the last valid entry stays"));
  EXPECT_THAT(names(), ElementsAre("a=Silver", "b=Gold"));
}

TEST(Catalog, IsThereWhenBothMapsAre) {
  config_reader r{runtime_settings{}};
  EXPECT_FALSE(r.current());
  r.read_accelerators(default_accelerators());
  EXPECT_FALSE(r.current());
  r.read_classes(default_classes());
  EXPECT_TRUE(r.current());
}

TEST(Catalog, FindsTheClassByEntryThenNameThenModel) {
  catalog c;
  c.classes = {{"low.yaml", {"Low", 9, {{"m", {}}}}}, {"high.yaml", {"High", 1, {{"m", {}}}}}};
  variant_object v;
  v.model_id = "m";
  const auto found = [&](const std::string& name, const std::string& key) {
    v.class_name = name;
    v.class_key = key;
    const auto* cls = c.find_class(v);
    return cls ? cls->name : "none";
  };
  EXPECT_EQ(found("x", "low.yaml"), "Low");
  EXPECT_EQ(found("Low", ""), "Low");
  EXPECT_EQ(found("x", "High"), "High");
  EXPECT_EQ(found("premium-slo", "m"), "High") << "the most important class that has the model";
  EXPECT_EQ(found("x", "y"), "none");
}

}  // namespace
}  // namespace inferno::actors::testing
