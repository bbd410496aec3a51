// SystemData in: every form it may have, every field that may be wrong. The solution out: JSON, YAML and table.
#include "model/system_json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fstream>
#include <limits>

#include "model/system_json_write.hpp"

namespace inferno::model {
namespace {

namespace json = boost::json;
using ::testing::AnyOf;

std::string quickstart() {
  std::ifstream in(TEST_DATA_DIR "/model/quickstart.json");
  EXPECT_TRUE(in);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

system_data parsed(std::string_view text) {
  auto s = parse_system(text);
  EXPECT_TRUE(s) << s.error();
  return s.value_or(system_data{});
}

/// The quick start's system with the value at `pointer` replaced; "" removes it.
std::string changed(const std::string& pointer, const std::string& value) {
  auto v = json::parse(quickstart());
  const auto slash = pointer.rfind('/');
  const auto name = pointer.substr(slash + 1);
  auto& parent = v.at_pointer(pointer.substr(0, slash));
  if (parent.is_array()) {
    parent.as_array().at(static_cast<std::size_t>(std::stoi(name))) = json::parse(value);
  } else if (value.empty()) {
    parent.as_object().erase(name);
  } else {
    parent.as_object()[name] = json::parse(value);
  }
  return json::serialize(v);
}

const std::string accelerator0 = "/system/acceleratorData/accelerators/0";
const std::string model0 = "/system/modelData/models/0";
const std::string class1 = "/system/serviceClassData/serviceClasses/1";
const std::string server0 = "/system/serverData/servers/0";

TEST(SystemJson, ReadsTheQuickStart) {
  const auto s = parsed(quickstart());
  ASSERT_EQ(s.accelerators.size(), 3u);
  EXPECT_EQ(s.accelerators[2].name, "A100");
  EXPECT_EQ(s.accelerators[2].type, "NVIDIA-A100-PCIE-80GB");
  EXPECT_EQ(s.accelerators[2].cost.cents, 40);
  ASSERT_EQ(s.profiles.size(), 3u);
  EXPECT_EQ(s.profiles[0].params, (performance_profile(linear_profile{20.58, 0.41, 0, 0, false})));
  EXPECT_EQ(s.profiles[0].max_batch, 4);
  EXPECT_EQ(s.profiles[0].at_tokens, 128);
  ASSERT_EQ(s.classes.size(), 2u);
  EXPECT_EQ(s.classes[1].priority, 1);
  EXPECT_EQ(s.classes[1].targets[0].slo, (slo_targets{24, 0, 500, 0}));
  ASSERT_EQ(s.servers.size(), 1u);
  EXPECT_TRUE(s.servers[0].keep_accelerator);
  EXPECT_EQ(s.servers[0].max_batch, 4);
  EXPECT_EQ(s.servers[0].current.max_batch, 256);
  EXPECT_NEAR(s.servers[0].current.load.arrival_rate.per_min(), 22.67, 1e-12);
  EXPECT_EQ(s.servers[0].current.load.avg_out_tokens, 178) << "avgLength is the output's";
  EXPECT_FALSE(s.optimizer.unlimited);
  EXPECT_EQ(s.capacity[1].type, "AMD-MI300X-192G");
}

TEST(SystemJson, AcceptsABareSystem) {
  const auto inner = json::serialize(json::parse(quickstart()).at("system"));
  EXPECT_EQ(to_json(parsed(inner)), to_json(parsed(quickstart())));
}

TEST(SystemJson, AcceptsBothFormsOfAProfileAndNumbersAsStrings) {
  const auto plain =
      parsed(changed(model0, R"({"name":"default","acc":"A100","alpha":"20.58","beta":"0.41","maxBatchSize":"4"})"));
  EXPECT_EQ(plain.profiles[0].params, (performance_profile(linear_profile{20.58, 0.41, 0, 0, false})));
  EXPECT_EQ(plain.profiles[0].at_tokens, 0);
  EXPECT_EQ(plain.profiles[0].acc_count, 1);
  const auto nested = parsed(changed(model0, R"({"name":"default","acc":"A100","maxBatchSize":4,
      "decodeParms":{"alpha":20.58,"beta":0.41},"prefillParms":{"gamma":"5.2","delta":0.1}})"));
  EXPECT_EQ(nested.profiles[0].params, (performance_profile(linear_profile{20.58, 0.41, 5.2, 0.1, true})));
}

TEST(SystemJson, AcceptsWhatFitWritesBesideAProfile) {
  const auto s = parsed(changed(model0, R"({"name":"default","acc":"A100","maxBatchSize":4,"decodeParms":{"alpha":1,"beta":2},
      "confidence95":{"alpha":[0.9,1.1]},"relativeError":{"itl":{"mean":0.1,"worst":0.2,"rows":3}}})"));
  EXPECT_EQ(s.profiles[0].params, (performance_profile(linear_profile{1, 2, 0, 0, false})));
}

TEST(SystemJson, AcceptsOlderAndNewerNamesOfTargets) {
  const auto s =
      parsed(changed(class1 + "/modelTargets/0", R"({"model":"default","slo-tpot":30,"slo-ttft":400,"slo-tps":"12.5"})"));
  EXPECT_EQ(s.classes[1].targets[0].slo, (slo_targets{30, 400, 0, 12.5}));
}

TEST(SystemJson, GpusThatAreCountedLimitThePlanWithoutAnOptimizerBlock) {
  const std::string counted = R"({"serverData":{"servers":[]},"capacityData":{"count":[{"type":"A","count":2}]})";
  EXPECT_FALSE(parsed(counted + "}").optimizer.unlimited);
  EXPECT_TRUE(parsed(counted + R"(,"optimizerData":{"optimizer":{"unlimited":true}}})").optimizer.unlimited);
  EXPECT_TRUE(parsed(R"({"serverData":{"servers":[]},"capacityData":{"count":[]}})").optimizer.unlimited);
}

TEST(SystemJson, DefaultsAreThoseOfTheReference) {
  const auto s = parsed(R"({"acceleratorData":{"accelerators":[{"name":"A","cost":1}]},
      "serviceClassData":{"serviceClasses":[{"name":"C"}]}, "serverData":{"servers":[{"name":"v","class":"C","model":"m"}]}})");
  EXPECT_EQ(s.accelerators[0].type, "A");
  EXPECT_EQ(s.accelerators[0].multiplicity, 1);
  EXPECT_TRUE(s.optimizer.unlimited) << "without an optimizer block there are no limits to keep";
  EXPECT_EQ(s.servers[0].min_replicas, 1);
  EXPECT_EQ(s.servers[0].max_replicas, 0);
  EXPECT_FALSE(s.servers[0].keep_accelerator);
}

TEST(SystemJson, WhatIsWrittenIsRead) {
  for (const char* file :
       {"/model/quickstart.json", "/model/solve/049-s15-a3-PriorityExhaustive.json",
        "/model/solve/063-s15-a3-RoundRobin-delayed.json", "/model/solve/089-s200-a3-PriorityRoundRobin.json"}) {
    std::ifstream in(std::string(TEST_DATA_DIR) + file);
    const auto first = parsed(std::string(std::istreambuf_iterator<char>(in), {}));
    const auto again = parsed(to_json(first));
    EXPECT_EQ(to_json(again), to_json(first));
    EXPECT_EQ(solution_json(solve_system(again)), solution_json(solve_system(first)));
    EXPECT_EQ(again.servers.size(), first.servers.size());
    EXPECT_EQ(again.optimizer.saturation, first.optimizer.saturation);
    EXPECT_EQ(again.optimizer.delayed_best_effort, first.optimizer.delayed_best_effort);
  }
}

struct wrong {
  std::string pointer;
  std::string value;
  std::string error;
};
void PrintTo(const wrong& w, std::ostream* out) { *out << w.pointer << " = " << w.value; }

class WrongField : public ::testing::TestWithParam<wrong> {};

TEST_P(WrongField, IsNamedWithItsValue) {
  const auto s = parse_system(changed(GetParam().pointer, GetParam().value));
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error(), GetParam().error);
  EXPECT_EQ(s.error().find('\n'), std::string::npos) << "one line";
}

const std::string s_ = "system.";
const std::string m_ = "system.modelData.models[0].";
const std::string a_ = "system.acceleratorData.accelerators[0].";
const std::string c_ = "system.serviceClassData.serviceClasses[1].";
const std::string v_ = "system.serverData.servers[0].";

INSTANTIATE_TEST_SUITE_P(
    Each, WrongField,
    ::testing::Values(
        wrong{accelerator0 + "/name", "", a_ + "name: expected a string that is not empty, got nothing"},
        wrong{accelerator0 + "/name", R"("")", a_ + "name: expected a string that is not empty, got \"\""},
        wrong{accelerator0 + "/type", "5", a_ + "type: expected a string, got 5"},
        wrong{accelerator0 + "/cost", R"("cheap")", a_ + "cost: expected a number from 0 to 1000000000, got \"cheap\""},
        wrong{accelerator0 + "/cost", "", a_ + "cost: expected a number from 0 to 1000000000, got nothing"},
        wrong{accelerator0 + "/multiplicity", "0", a_ + "multiplicity: expected a whole number from 1 to 1024, got 0"},
        wrong{accelerator0, "[]", "system.acceleratorData.accelerators[0]: expected an object, got []"},
        wrong{accelerator0 + "/name", R"("A100")", "system.acceleratorData.accelerators: \"A100\" is there twice"},
        wrong{model0 + "/name", "null", m_ + "name: expected a string that is not empty, got null"},
        wrong{model0 + "/acc", R"("H100")", m_ + "acc: unknown accelerator \"H100\""},
        wrong{model0 + "/acc", R"("G2")", "system.modelData.models: \"default on G2\" is there twice"},
        wrong{model0 + "/accCount", "1.5", m_ + "accCount: expected a whole number from 1 to 1024, got 1.5"},
        wrong{model0 + "/alpha", "-1", m_ + "alpha: expected a number from 0 to 1000000, got -1"},
        wrong{model0 + "/alpha", R"("nan")", m_ + "alpha: expected a number from 0 to 1000000, got \"nan\""},
        wrong{model0 + "/alpha", R"("1e999")", m_ + "alpha: expected a number from 0 to 1000000, got \"1e999\""},
        wrong{model0 + "/alpha", R"("20ms")", m_ + "alpha: expected a number from 0 to 1000000, got \"20ms\""},
        wrong{model0 + "/alpha", "[1]", m_ + "alpha: expected a number from 0 to 1000000, got [1]"},
        wrong{model0 + "/beta", R"("inf")", m_ + "beta: expected a number from 0 to 1000000, got \"inf\""},
        wrong{model0 + "/beta", "", m_ + "beta: expected a number from 0 to 1000000, got nothing"},
        wrong{model0 + "/prefillParms", R"({"gamma":1})",
              m_ + "prefillParms.delta: expected a number from 0 to 1000000, got nothing"},
        wrong{model0 + "/prefillParms", R"({"gamma":"x","delta":1})",
              m_ + "prefillParms.gamma: expected a number from 0 to 1000000, got \"x\""},
        wrong{model0, R"({"name":"default","acc":"A100","maxBatchSize":4,"decodeParms":{"alpha":0,"beta":0}})",
              "system.modelData.models[0]: alpha and beta are both 0: a decode step must take time"},
        wrong{model0 + "/maxBatchSize", "0", m_ + "maxBatchSize: expected a whole number from 1 to 65536, got 0"},
        wrong{model0 + "/maxBatchSize", "", m_ + "maxBatchSize: expected a whole number from 1 to 65536, got nothing"},
        wrong{model0 + "/atTokens", "-5", m_ + "atTokens: expected a whole number from 0 to 10000000, got -5"},
        wrong{class1 + "/name", R"("Freemium")", "system.serviceClassData.serviceClasses: \"Freemium\" is there twice"},
        wrong{class1 + "/modelTargets/0/slo-tpot", "20",
              c_ + "modelTargets[0].slo-tpot: another name of slo-itl, which is there too"},
        wrong{class1 + "/modelTargets/1/model", R"("default")", c_ + "modelTargets[1].model: \"default\" is there twice"},
        wrong{class1 + "/priority", "0.5", c_ + "priority: expected a whole number from 1 to 100, got 0.5"},
        wrong{class1 + "/priority", "0", c_ + "priority: expected a whole number from 1 to 100, got 0"},
        wrong{class1 + "/priority", "-5", c_ + "priority: expected a whole number from 1 to 100, got -5"},
        wrong{class1 + "/priority", "101", c_ + "priority: expected a whole number from 1 to 100, got 101"},
        wrong{model0 + "/maxBatchSize", "65537", m_ + "maxBatchSize: expected a whole number from 1 to 65536, got 65537"},
        wrong{model0 + "/kvCacheGiB", R"("0")", m_ + "kvCacheGiB: expected a number above 0 and up to 1000000, got \"0\""},
        wrong{model0 + "/kvBytesPerToken", "0", m_ + "kvBytesPerToken: expected a number above 0 and up to 1000000000, got 0"},
        wrong{model0 + "/kvCacheGiB", "1", m_ + "kvBytesPerToken: required with kvCacheGiB"},
        wrong{model0 + "/kvBytesPerToken", "1", m_ + "kvCacheGiB: required with kvBytesPerToken"},
        wrong{model0,
              R"({"name":"default","acc":"A100","maxBatchSize":4,"alpha":1,"beta":1,"kvCacheGiB":1e-6,"kvBytesPerToken":131072})",
              m_ + "kvCacheGiB: 1e-06 GiB do not hold one token, which takes kvBytesPerToken 131072"},
        wrong{model0 + "/decodeParms", R"({"alpha":1,"beta":1})",
              "system.modelData.models[0]: decodeParms and alpha are given; a profile has one form"},
        wrong{model0 + "/iterationParms", R"({"alpha":1,"beta":1,"gamma":0})",
              "system.modelData.models[0]: iterationParms and alpha are given; a profile has one form"},
        wrong{server0 + "/maxBatchSize", "65537", v_ + "maxBatchSize: expected a whole number from 0 to 65536, got 65537"},
        wrong{server0 + "/currentAlloc/load/arrivalRate", "1e300",
              v_ + "currentAlloc.load.arrivalRate: expected a number from 0 to 1000000000, got 1.0e+300"},
        wrong{class1 + "/modelTargets", "{}", c_ + "modelTargets: expected a list, got {}"},
        wrong{class1 + "/modelTargets/0/model", "7", c_ + "modelTargets[0].model: expected a string that is not empty, got 7"},
        wrong{class1 + "/modelTargets/0/slo-itl", R"("fast")",
              c_ + "modelTargets[0].slo-itl: expected a number from 0 to 1000000000, got \"fast\""},
        wrong{class1 + "/modelTargets/0/slo-ttft", "-4",
              c_ + "modelTargets[0].slo-ttft: expected a number from 0 to 1000000000, got -4"},
        wrong{class1 + "/modelTargets/0/slo-ttw", "true",
              c_ + "modelTargets[0].slo-ttw: expected a number from 0 to 1000000000, got true"},
        wrong{class1 + "/modelTargets/0/slo-tps", "{}",
              c_ + "modelTargets[0].slo-tps: expected a number from 0 to 1000000000, got {}"},
        wrong{server0 + "/name", "", v_ + "name: expected a string that is not empty, got nothing"},
        wrong{server0 + "/class", R"("Gold")", v_ + "class: unknown service class \"Gold\""},
        wrong{server0 + "/model", "", v_ + "model: expected a string that is not empty, got nothing"},
        wrong{server0 + "/keepAccelerator", R"("yes")", v_ + "keepAccelerator: expected true or false, got \"yes\""},
        wrong{server0 + "/minNumReplicas", "-1", v_ + "minNumReplicas: expected a whole number from 0 to 100000, got -1"},
        wrong{server0 + "/minNumReplicas", "1e12",
              v_ + "minNumReplicas: expected a whole number from 0 to 100000, got 1000000000000"},
        wrong{server0 + "/minNumReplicas", R"("2.5")",
              v_ + "minNumReplicas: expected a whole number from 0 to 100000, got \"2.5\""},
        wrong{server0 + "/currentAlloc", "[]", v_ + "currentAlloc: expected an object, got []"},
        wrong{server0 + "/currentAlloc/numReplicas", R"("many")",
              v_ + "currentAlloc.numReplicas: expected a whole number from 0 to 100000, got \"many\""},
        wrong{server0 + "/currentAlloc/cost", "-40",
              v_ + "currentAlloc.cost: expected a number from 0 to 1000000000000000, got -40"},
        wrong{server0 + "/currentAlloc/load", "3", v_ + "currentAlloc.load: expected an object, got 3"},
        wrong{server0 + "/currentAlloc/load/arrivalRate", R"("x")",
              v_ + "currentAlloc.load.arrivalRate: expected a number from 0 to 1000000000, got \"x\""},
        wrong{server0 + "/currentAlloc/load/avgInTokens", "-2",
              v_ + "currentAlloc.load.avgInTokens: expected a number from 0 to 10000000, got -2"},
        wrong{
            server0 + "/currentAlloc/load/avgOutTokens", "0",
            v_ + "currentAlloc.load.avgOutTokens: expected more than 0 where " + v_ + "currentAlloc.load.arrivalRate is, got 0"},
        wrong{server0 + "/currentAlloc/load/avgOutTokens", "false",
              v_ + "currentAlloc.load.avgOutTokens: expected a number from 0 to 10000000, got false"},
        wrong{"/system/optimizerData/optimizer/unlimited", "1",
              s_ + "optimizerData.optimizer.unlimited: expected true or false, got 1"},
        wrong{"/system/optimizerData/optimizer/saturationPolicy", R"("Fair")",
              s_ + "optimizerData.optimizer.saturationPolicy: expected None, PriorityExhaustive, PriorityRoundRobin or "
                   "RoundRobin, got "
                   "\"Fair\""},
        wrong{"/system/capacityData/count/0/count", "-1",
              s_ + "capacityData.count[0].count: expected a whole number from 0 to 1000000000, got -1"},
        wrong{"/system/capacityData/count/0/type", "",
              s_ + "capacityData.count[0].type: expected a string that is not empty, got nothing"},
        wrong{"/system/capacityData/count/1/type", R"("NVIDIA-A100-PCIE-80GB")",
              s_ + "capacityData.count: \"NVIDIA-A100-PCIE-80GB\" is there twice"},
        wrong{"/system/serverData", "", s_ + "serverData: expected an object, got nothing"},
        wrong{"/system/serverData", "[]", s_ + "serverData: expected an object, got []"}));

INSTANTIATE_TEST_SUITE_P(
    Misspelt, WrongField,
    ::testing::Values(
        wrong{"/system/acceleratorsData", "{}", s_ + "acceleratorsData: unknown field; did you mean \"acceleratorData\"?"},
        wrong{"/system/acceleratorData/accelerator", "[]",
              s_ + "acceleratorData.accelerator: unknown field; did you mean \"accelerators\"?"},
        wrong{"/system/modelData/profiles", "[]", s_ + "modelData.profiles: unknown field"},
        wrong{accelerator0 + "/multiplicty", "2", a_ + "multiplicty: unknown field; did you mean \"multiplicity\"?"},
        wrong{accelerator0 + "/power", R"({"idl":1})", a_ + "power.idl: unknown field; did you mean \"idle\"?"},
        wrong{model0 + "/maxbatchsize", "4", m_ + "maxbatchsize: unknown field; did you mean \"maxBatchSize\"?"},
        wrong{model0, R"({"name":"default","acc":"A100","maxBatchSize":4,"decodeParms":{"alpha":1,"betta":1}})",
              m_ + "decodeParms.betta: unknown field; did you mean \"beta\"?"},
        wrong{class1 + "/modelTargets/0/slo_itl", "20", c_ + "modelTargets[0].slo_itl: unknown field; did you mean \"slo-itl\"?"},
        wrong{class1 + "/modelTargets/0/slo-ITL", "20", c_ + "modelTargets[0].slo-ITL: unknown field; did you mean \"slo-itl\"?"},
        wrong{server0 + "/maxReplicas", "2", v_ + "maxReplicas: unknown field; did you mean \"maxNumReplicas\"?"},
        wrong{server0 + "/currentAlloc/load/arrivalrate", "2",
              v_ + "currentAlloc.load.arrivalrate: unknown field; did you mean \"arrivalRate\"?"},
        wrong{"/system/optimizerData/optimizer/unlimitted", "true",
              s_ + "optimizerData.optimizer.unlimitted: unknown field; did you mean \"unlimited\"?"},
        wrong{"/system/capacityData/count/0/number", "1", s_ + "capacityData.count[0].number: unknown field"},
        wrong{"/capacityData", "{}", "capacityData: belongs into \"system\", and stands beside it"}));

TEST(SystemJson, AFieldThatIsThereTwiceIsRefusedByName) {
  const auto twice = [](std::string from, const std::string& to) {
    auto text = quickstart();
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    const auto s = parse_system(text);
    return s ? std::string("accepted") : s.error();
  };
  EXPECT_EQ(twice("\"serverData\"", "\"modelData\": {}, \"serverData\""), "system.modelData: is there twice");
  EXPECT_EQ(twice("\"name\": \"A100\"", "\"name\": \"A100\", \"name\": \"A100\""),
            "system.acceleratorData.accelerators[2].name: is there twice");
  EXPECT_EQ(twice(R"("model": "default")", R"("model": "default", "mode\u006c": "other")"),
            "system.serviceClassData.serviceClasses[1].modelTargets[0].model: is there twice")
      << "an escaped name is the same name";
}

TEST(SystemJson, RefusesLimitsThatExcludeEachOther) {
  auto v = json::parse(quickstart());
  v.at_pointer(server0).as_object()["minNumReplicas"] = 3;
  v.at_pointer(server0).as_object()["maxNumReplicas"] = 2;
  const auto s = parse_system(json::serialize(v));
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error(),
            "system.serverData.servers[0].maxNumReplicas: expected 0 or a number >= minNumReplicas, which is 3, got 2");
}

TEST(SystemJson, RefusesWhatIsNotJson) {
  const auto error = [](std::string_view text) {
    const auto s = parse_system(text);
    return s ? std::string("accepted") : s.error();
  };
  EXPECT_EQ(error(""), "not JSON: incomplete JSON at byte 0");
  EXPECT_EQ(error("{"), "not JSON: incomplete JSON at byte 1");
  EXPECT_EQ(error(R"({"serverData":{}} x)"), "not JSON: extra data at byte 18");
  EXPECT_EQ(error("{\"serverData\":{}}\n \t\r\n"), "accepted");
  EXPECT_EQ(error("[]"), "expected a JSON object with acceleratorData, modelData, serviceClassData, serverData");
  // Versions of Boost.JSON differ about whether the byte that is wrong counts as read.
  EXPECT_THAT(error("nan"), AnyOf("not JSON: syntax error at byte 0", "not JSON: syntax error at byte 1"));
  EXPECT_THAT(error(std::string(100, '[')), AnyOf("not JSON: too deep at byte 32", "not JSON: too deep at byte 33"));
  EXPECT_EQ(error(R"({"system":[]})"), "system: expected an object, got []");
  EXPECT_EQ(error(R"({"serverData":"\ud800"})").substr(0, 9), "not JSON:");
}

TEST(SystemJson, ALongValueIsCutInTheError) {
  const auto s = parse_system(changed(model0 + "/alpha", '"' + std::string(5000, 'x') + '"'));
  ASSERT_FALSE(s);
  EXPECT_LT(s.error().size(), 250u);
  EXPECT_NE(s.error().find("xxx..."), std::string::npos);
}

TEST(SystemJson, EveryPrefixOfAFileIsRefused) {
  const auto text = quickstart();
  const auto end = text.rfind('}');
  for (std::size_t n = 0; n <= end; n += 7) EXPECT_FALSE(parse_system(std::string_view(text).substr(0, n))) << n;
}

TEST(Solution, GivesTheQuickStartsLoggedFigures) {
  auto s = parsed(quickstart());
  const auto first = solve_system(s);
  const auto& a = first.allocations.at("vllme-deployment:llm-d-sim");
  EXPECT_EQ(a.accelerator, "A100");
  EXPECT_EQ(a.num_replicas, 1);
  EXPECT_EQ(a.max_batch, 4);
  EXPECT_EQ(a.cost.cents, 40);
  EXPECT_EQ(a.value, 0);
  EXPECT_NEAR(a.itl_ms, 21.555601, 5e-5);
  EXPECT_NEAR(a.wait_ms, 110.798096, 5e-3);
  EXPECT_NEAR(a.busy, 0.7630596, 5e-6);
  ASSERT_EQ(first.by_type.size(), 1u);
  EXPECT_EQ(first.by_type[0].type, "NVIDIA-A100-PCIE-80GB");
  EXPECT_EQ(first.by_type[0].count, 1);
  EXPECT_EQ(first.by_type[0].limit, 2);
  EXPECT_EQ(first.total_cost.cents, 40);
  s.servers[0].current.load.arrival_rate = req_rate::per_min(44);
  const auto second = solve_system(s);
  const auto& b = second.allocations.at("vllme-deployment:llm-d-sim");
  EXPECT_EQ(b.num_replicas, 2);
  EXPECT_EQ(b.value, 40);
  EXPECT_NEAR(b.itl_ms, 21.540192, 5e-5);
  EXPECT_NEAR(b.wait_ms, 99.1626, 5e-3);
  EXPECT_NEAR(b.busy, 0.7524011, 5e-6);
  EXPECT_EQ(second.total_cost.cents, 80);
  s.servers[0].current.num_replicas = 2;
  s.servers[0].current.cost = {80};
  s.servers[0].current.load.arrival_rate = req_rate::per_min(2.67);
  const auto third = solve_system(s);
  const auto& c = third.allocations.at("vllme-deployment:llm-d-sim");
  EXPECT_EQ(c.num_replicas, 1);
  EXPECT_EQ(c.value, -40);
  EXPECT_NEAR(c.itl_ms, 21.058374, 5e-5);
}

TEST(Solution, JsonHasTheseKeysAndNoOthers) {
  const auto v = json::parse(solution_json(solve_system(parsed(quickstart()))));
  const auto keys = [](const json::value& of) {
    std::string out;
    for (const auto& member : of.as_object()) out += std::string(member.key()) + " ";
    return out;
  };
  EXPECT_EQ(keys(v), "allocations byType totalCost infeasible solver ");
  EXPECT_EQ(keys(v.at("allocations")), "vllme-deployment:llm-d-sim ");
  const auto& a = v.at("allocations").at("vllme-deployment:llm-d-sim");
  EXPECT_EQ(keys(a),
            "accelerator numReplicas maxBatch cost itlAverage waitAverage waitP95 ttftAverage ttftPercentiles utilization "
            "maxRatePerReplica "
            "load ");
  EXPECT_EQ(keys(a.at("ttftPercentiles")), "p50 p90 p95 p99 ");
  EXPECT_GT(a.at("ttftPercentiles").at("p95").to_number<double>(), a.at("ttftAverage").to_number<double>());
  EXPECT_EQ(keys(v.at("solver")), "name satisfied satisfiable value lowerBound gap seconds ");
  EXPECT_EQ(v.at("solver").at("gap"), 0);
  EXPECT_EQ(keys(a.at("load")), "arrivalRate avgInTokens avgOutTokens ");
  EXPECT_NEAR(a.at("load").at("arrivalRate").to_number<double>(), 22.67, 1e-12);
  EXPECT_NEAR(a.at("maxRatePerReplica").to_number<double>(), 25.3115, 1e-3) << "requests/min";
  ASSERT_EQ(v.at("byType").as_array().size(), 1u);
  EXPECT_EQ(write_json(v.at("byType").at(0)), R"({"type":"NVIDIA-A100-PCIE-80GB","count":1,"limit":2,"cost":40})");
  EXPECT_EQ(v.at("totalCost"), 40);
}

TEST(Solution, TooFewTokensPerSecondAreSaidToo) {
  auto s = parsed(quickstart());
  s.optimizer.unlimited = true;
  auto& v = s.servers[0];
  v.max_replicas = 1;
  for (auto& c : s.classes)
    for (auto& t : c.targets)
      if (c.name == v.class_name && t.model == v.model) t.slo.tps = 1000;  // 337 requests/min of 178 tokens
  const auto plan = solve_system(s);
  ASSERT_EQ(plan.degraded.count(v.name), 1u);
  EXPECT_NE(plan.degraded.at(v.name).find("337.08 are the target"), std::string::npos) << plan.degraded.at(v.name);
}

/// A system with a variant of every fate.
system_solution mixed() {
  auto s = parsed(quickstart());
  const auto base = s.servers[0];
  const auto add = [&](const char* name, auto change) {
    auto v = base;
    v.name = name;
    change(v);
    s.servers.push_back(v);
  };
  s.servers.clear();
  s.optimizer.saturation = saturation_policy::priority_exhaustive;
  s.capacity[0].count = 4;
  add("a-fits", [](auto&) {});
  add("b-too-much", [](auto& v) { v.current.load.arrival_rate = req_rate::per_min(220); });
  add("c-nothing-left", [](auto& v) {
    v.current.load.arrival_rate = req_rate::per_min(190);
    v.current.num_replicas = 0;
  });
  add("d-no-profile", [](auto& v) { v.model = "llama0-70b"; });
  add("e-no-target", [](auto& v) { v.model = "unheard-of"; });
  add("f-no-capacity", [](auto& v) { v.current.accelerator = "MI300X"; });
  add("g-\"quoted\": \n", [](auto& v) {
    v.min_replicas = 0;
    v.current.load = {};
  });
  s.classes[1].targets.push_back({"slow", {1, 0, 0, 0, 0}});
  s.profiles.push_back({"slow", "A100", 1, 4, 128, linear_profile{20.58, 0.41, 0, 0, false}, {}});
  add("h-infeasible", [](auto& v) { v.model = "slow"; });
  return solve_system(s);
}

TEST(Solution, SaysWhatBecameOfEveryVariant) {
  const auto s = mixed();
  EXPECT_EQ(s.allocations.at("a-fits").num_replicas, 1);
  EXPECT_EQ(s.allocations.at("b-too-much").num_replicas, 3);
  EXPECT_EQ(s.allocations.at("b-too-much").cost.cents, 120) << "cost of what it gets";
  EXPECT_EQ(s.degraded.at("b-too-much"), "3 x A100 meet the targets up to 75.93 requests/min, 220.00 arrive");
  // What three replicas make of it, not what all that it wants would.
  const auto& overloaded = s.allocations.at("b-too-much");
  EXPECT_NEAR(overloaded.rate_per_replica.per_min(), 220.0 / 3, 1e-6);
  EXPECT_GT(overloaded.wait_ms, 5000);
  EXPECT_GE(overloaded.ttft_ms, overloaded.wait_ms);
  EXPECT_GE(overloaded.busy, 0.999);
  EXPECT_EQ(s.degraded.count("a-fits"), 0u);
  EXPECT_EQ(s.unallocated.at("c-nothing-left"), "not enough GPUs: 8 x A100 needs 8 of type NVIDIA-A100-PCIE-80GB, 0 of 4 left");
  EXPECT_EQ(s.infeasible.at("d-no-profile"), "no profile for the accelerator in use, A100");
  EXPECT_EQ(s.infeasible.at("e-no-target"), "service class \"Premium\" has no target for model \"unheard-of\"");
  EXPECT_EQ(s.unallocated.at("f-no-capacity"), "MI300X: no capacity given for type AMD-MI300X-192GB");
  EXPECT_EQ(s.allocations.at("g-\"quoted\": \n").num_replicas, 0);
  EXPECT_EQ(s.infeasible.at("h-infeasible"), "A100: itl target 1 ms cannot be met: 20.9904 ms at the lowest rate");
  EXPECT_EQ(s.allocations.size() + s.infeasible.size() + s.unallocated.size(), 8u) << "each is somewhere, once";
  EXPECT_EQ(s.total_cost.cents, 160);
  ASSERT_EQ(s.by_type.size(), 1u);
  EXPECT_EQ(s.by_type[0].count, 4);
}

TEST(Solution, JsonNamesTheReasons) {
  const auto v = json::parse(solution_json(mixed()));
  EXPECT_EQ(v.at("infeasible").as_object().size(), 3u);
  EXPECT_EQ(v.at("infeasible").at("h-infeasible"), "A100: itl target 1 ms cannot be met: 20.9904 ms at the lowest rate");
  EXPECT_EQ(v.at("unallocated").as_object().size(), 2u);
  EXPECT_TRUE(v.at("degraded").as_object().contains("b-too-much"));
  EXPECT_TRUE(v.at("allocations").as_object().contains("g-\"quoted\": \n"));
  EXPECT_FALSE(v.at("allocations").as_object().contains("h-infeasible"));
}

TEST(Solution, NumbersAreWrittenAsPeopleWriteThem) {
  system_solution s;
  s.allocations["v"].itl_ms = 21.5;
  s.allocations["v"].wait_ms = 1e-9;
  s.allocations["v"].ttft_ms = 1.0 / 3;
  s.loads["v"].arrival_rate = req_rate::per_min(60);
  s.total_cost.cents = 40;
  const auto text = solution_json(s);
  EXPECT_NE(
      text.find(R"("itlAverage":21.5,"waitAverage":1.0e-09,"waitP95":2.995732273553991e-09,"ttftAverage":0.3333333333333333)"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find(R"("totalCost":40,)"), std::string::npos) << text;
  EXPECT_EQ(json::parse(text).at("allocations").at("v").at("waitAverage"), 1e-9);
}

TEST(Solution, UnlimitedTypesHaveNoLimit) {
  auto s = parsed(quickstart());
  s.optimizer.unlimited = true;
  s.capacity.clear();
  const auto solution = solve_system(s);
  EXPECT_NE(solution_json(solution).find(R"("limit":null)"), std::string::npos);
  EXPECT_NE(solution_yaml(solution).find("\"limit\": null"), std::string::npos);
}

TEST(Solution, Yaml) {
  auto s = solve_system(parsed(quickstart()));
  auto& a = s.allocations.begin()->second;
  a.itl_ms = 21.5, a.wait_ms = 110.25, a.ttft_ms = 110.25, a.busy = 0.75, a.max_rate_per_replica = req_rate::per_min(30);
  a.ttft_at = {1, 2, 3, 4.5};
  s.loads.begin()->second.arrival_rate = req_rate::per_min(30);
  s.infeasible["x"] = "a reason: \"why\"";
  EXPECT_EQ(solution_yaml(s), R"("allocations":
  "vllme-deployment:llm-d-sim":
    "accelerator": "A100"
    "numReplicas": 1
    "maxBatch": 4
    "cost": 40
    "itlAverage": 21.5
    "waitAverage": 110.25
    "waitP95": 330.27948315932747
    "ttftAverage": 110.25
    "ttftPercentiles":
      "p50": 1
      "p90": 2
      "p95": 3
      "p99": 4.5
    "utilization": 0.75
    "maxRatePerReplica": 30
    "load":
      "arrivalRate": 30
      "avgInTokens": 0
      "avgOutTokens": 178
"byType":
  -
    "type": "NVIDIA-A100-PCIE-80GB"
    "count": 1
    "limit": 2
    "cost": 40
"totalCost": 40
"infeasible":
  "x": "a reason: \"why\""
"solver":
  "name": "auto"
  "satisfied": 1
  "satisfiable": 1
  "value": 0
  "lowerBound": 0
  "gap": 0
  "seconds": null
)");
}

TEST(Solution, Table) {
  auto s = solve_system(parsed(quickstart()));
  s.allocations.begin()->second.ttft_at.p95 = 480.25;
  s.infeasible["other"] = "why not";
  s.unallocated["third"] = "no room";
  s.degraded["fourth"] = "too few";
  EXPECT_EQ(
      solution_table(s),
      R"(VARIANT                     ACCELERATOR  REPLICAS  BATCH   COST  RATE/MIN   ITL ms  WAIT ms  WAIT P95  TTFT ms  TTFT P95     UTIL  MAX RATE/MIN
vllme-deployment:llm-d-sim  A100                1      4  40.00     22.67  21.5556  110.798     331.9  110.798     480.2  0.76306         25.31
slo-itl limits ITL, slo-ttft limits TTFT or a percentile of it, and slo-ttw limits WAIT P95, which is 2.996 times the mean
wait, as if the wait were exponentially distributed. RATE/MIN arrives at the variant; MAX RATE/MIN is what one replica
takes within the objectives. UTIL is the share of the time in which a replica has a request.

TYPE                   COUNT  LIMIT   COST
NVIDIA-A100-PCIE-80GB      1      2  40.00
TOTAL                      1         40.00

solver auto: 1 of 2 variants satisfied; value 0.00 cents/h, proven to be the least possible

infeasible: other: why not

unallocated: third: no room

degraded: fourth: too few
)");
}

TEST(Solution, OfNothing) {
  const auto s = solve_system(parsed(R"({"serverData":{}})"));
  EXPECT_EQ(
      solution_json(s),
      R"({"allocations":{},"byType":[],"totalCost":0,"infeasible":{},"solver":{"name":"unlimited","satisfied":0,"satisfiable":0,"value":0,"lowerBound":0,"gap":0,"seconds":null}})");
  EXPECT_EQ(solution_yaml(s),
            "\"allocations\": {}\n\"byType\": []\n\"totalCost\": 0\n\"infeasible\": {}\n\"solver\":\n  \"name\": \"unlimited\"\n "
            " \"satisfied\": 0\n"
            "  \"satisfiable\": 0\n  \"value\": 0\n  \"lowerBound\": 0\n  \"gap\": 0\n  \"seconds\": null\n");
  EXPECT_EQ(solution_table(s), "TYPE   COUNT  LIMIT  COST\nTOTAL      0         0.00\n");
}

/// GPUs of many absurd variants add up beyond an int; the sum stops there instead of going negative.
TEST(Solution, AbsurdSystemsDoNotOverflow) {
  auto s = parsed(quickstart());
  s.optimizer.unlimited = true;
  s.accelerators[2].multiplicity = 1024;
  s.profiles[0].acc_count = 1024;
  s.servers[0].min_replicas = 900;
  for (const char* name : {"second", "third"}) {
    s.servers.push_back(s.servers[0]);
    s.servers.back().name = name;
  }
  const auto solution = solve_system(s);
  ASSERT_TRUE(solution.satisfied()) << solution_table(solution);
  ASSERT_EQ(solution.by_type.size(), 1u);
  EXPECT_EQ(solution.by_type[0].count, std::numeric_limits<int>::max());
}

}  // namespace
}  // namespace inferno::model
