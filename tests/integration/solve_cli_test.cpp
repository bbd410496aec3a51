// `inferno solve` as its users run it: files, standard input, every output, and what it says to wrong input.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/support/process.hpp"

namespace inferno {
namespace {

namespace json = boost::json;
using test::outcome;

outcome run(std::vector<std::string> args, const std::string& input = {}) {
  return test::run_program(INFERNO_BIN, std::move(args), input);
}

const std::string quickstart = TEST_DATA_DIR "/model/quickstart.json";

std::string content(const std::string& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in) << path;
  return std::string(std::istreambuf_iterator<char>(in), {});
}

/// The quick start's system at another arrival rate.
std::string at_rate(double per_min) {
  auto v = json::parse(content(quickstart));
  v.at_pointer("/system/serverData/servers/0/currentAlloc/load").as_object()["arrivalRate"] = per_min;
  return json::serialize(v);
}

double number(const json::value& v) { return v.to_number<double>(); }

/// One line that names the program and holds `what`; nothing on standard output; exit code 2.
void expect_refused(const outcome& r, const std::string& what) {
  EXPECT_EQ(r.exit_code, 2);
  EXPECT_EQ(r.out, "");
  EXPECT_NE(r.err.find(what), std::string::npos) << r.err;
  EXPECT_EQ(r.err.rfind("inferno solve: ", 0), 0u) << r.err;
  EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
  EXPECT_TRUE(r.err.ends_with('\n'));
}

TEST(SolveCli, GivesTheQuickStartsLoggedFigures) {
  struct logged {
    double rate;
    int replicas;
    double itl, wait, busy;
  };
  for (const auto& want :
       {logged{22.67, 1, 21.555601, 110.798096, 0.7630596}, logged{44, 2, 21.540192, 99.1626, 0.7524011},
        logged{37.76, 2, 21.466858, 56.422607, 0.6966711}, logged{2.67, 1, 21.058374, 0.032958984, 0.15340477}}) {
    SCOPED_TRACE(want.rate);
    const auto r = run({"solve", "-", "--output", "json"}, at_rate(want.rate));
    ASSERT_EQ(r.exit_code, 0) << r.err;
    EXPECT_EQ(r.err, "");
    const auto v = json::parse(r.out);
    const auto& a = v.at("allocations").at("vllme-deployment:llm-d-sim");
    EXPECT_EQ(a.at("accelerator"), "A100");
    EXPECT_EQ(a.at("numReplicas"), want.replicas);
    EXPECT_EQ(a.at("maxBatch"), 4);
    EXPECT_EQ(number(a.at("cost")), 40 * want.replicas);
    EXPECT_NEAR(number(a.at("itlAverage")), want.itl, 5e-5);
    EXPECT_NEAR(number(a.at("waitAverage")), want.wait, 5e-3);
    EXPECT_NEAR(number(a.at("utilization")), want.busy, 5e-6);
    EXPECT_NEAR(number(a.at("load").at("arrivalRate")), want.rate, 1e-9);
    EXPECT_EQ(number(v.at("totalCost")), 40 * want.replicas);
    EXPECT_EQ(v.at("byType").at(0).at("type"), "NVIDIA-A100-PCIE-80GB");
    EXPECT_EQ(v.at("byType").at(0).at("count"), want.replicas);
    EXPECT_EQ(v.at("byType").at(0).at("limit"), 2);
  }
}

TEST(SolveCli, FileAndStandardInputGiveTheSame) {
  const auto from_file = run({"solve", quickstart});
  const auto from_input = run({"solve", "-"}, content(quickstart));
  EXPECT_EQ(from_file.exit_code, 0) << from_file.err;
  EXPECT_EQ(from_file.out, from_input.out);
  EXPECT_EQ(from_file.out, run({"solve", quickstart, "--output", "table"}).out) << "the table is the default";
}

TEST(SolveCli, TableIsForPeople) {
  const auto r = run({"solve", quickstart});
  EXPECT_NE(r.out.find("VARIANT                     ACCELERATOR  REPLICAS  BATCH   COST"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("vllme-deployment:llm-d-sim  A100                1      4  40.00"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("TOTAL                      1         40.00\n"), std::string::npos) << r.out;
}

TEST(SolveCli, YamlHoldsTheSame) {
  const auto r = run({"solve", quickstart, "-o", "yaml"});
  EXPECT_EQ(r.exit_code, 0);
  EXPECT_NE(r.out.find("\n    \"numReplicas\": 1\n"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("\n\"totalCost\": 40\n"), std::string::npos) << r.out;
}

/// Unlimited systems without throughput targets, which the reference lets replace the load.
TEST(SolveCli, GivesTheGoldenAnswersOfUnlimitedSystems) {
  int compared = 0;
  for (const char* name : {"001-s1-a3", "019-s4-a3", "037-s8-a3", "055-s15-a3"}) {
    SCOPED_TRACE(name);
    const std::string path = std::string(TEST_DATA_DIR "/model/solve/") + name + "-unlimited.json";
    const auto r = run({"solve", path, "-o", "json"});
    ASSERT_EQ(r.exit_code, 0) << r.err;
    const auto got = json::parse(r.out);
    const auto want = json::parse(content(path));
    for (const auto& [variant, w] : want.at("allocations").as_object()) {
      SCOPED_TRACE(std::string(variant));
      const auto& a = got.at("allocations").at(variant);
      EXPECT_EQ(a.at("accelerator"), w.at("accelerator"));
      EXPECT_EQ(a.at("numReplicas"), w.at("numReplicas"));
      EXPECT_EQ(a.at("maxBatch"), w.at("maxBatch"));
      EXPECT_NEAR(number(a.at("cost")), number(w.at("cost")), 1e-3 * number(w.at("cost")));
      EXPECT_NEAR(number(a.at("itlAverage")), number(w.at("itl")), 1e-3 * number(w.at("itl")));
      EXPECT_NEAR(number(a.at("ttftAverage")), number(w.at("ttft")), 1e-3 * number(w.at("ttft")));
      ++compared;
    }
  }
  EXPECT_EQ(compared, 28);
}

TEST(SolveCli, AVariantThatCannotBeServedHasAnExitCodeOfItsOwn) {
  auto v = json::parse(content(quickstart));
  v.at_pointer("/system/serviceClassData/serviceClasses/1/modelTargets/0").as_object()["slo-itl"] = 5;
  const auto text = json::serialize(v);
  const auto r = run({"solve", "-", "-o", "json"}, text);
  EXPECT_EQ(r.exit_code, 3) << r.err;
  EXPECT_EQ(r.err, "");
  const auto got = json::parse(r.out);
  EXPECT_TRUE(got.at("allocations").as_object().empty());
  EXPECT_EQ(got.at("infeasible").at("vllme-deployment:llm-d-sim"),
            "A100: itl target 5 ms cannot be met: 20.9904 ms at the lowest rate");
  EXPECT_EQ(got.at("totalCost"), 0);
  const auto table = run({"solve", "-"}, text);
  EXPECT_EQ(table.exit_code, 3);
  EXPECT_NE(table.out.find("infeasible: vllme-deployment:llm-d-sim: A100: itl target 5 ms cannot be met"), std::string::npos)
      << table.out;
}

TEST(SolveCli, RefusesWrongInputInOneLine) {
  auto v = json::parse(content(quickstart));
  v.at_pointer("/system/serverData/servers/0/currentAlloc/load").as_object()["arrivalRate"] = "x";
  expect_refused(run({"solve", "-"}, json::serialize(v)),
                 "standard input: system.serverData.servers[0].currentAlloc.load.arrivalRate: expected a number from 0 to "
                 "1000000000, got \"x\"");
  expect_refused(run({"solve", "-"}, ""), "standard input: not JSON: incomplete JSON at byte 0");
  expect_refused(run({"solve", "-"}, "{\"serverData\":{}}\n\n{"), "not JSON: extra data at byte 19");
  expect_refused(run({"solve", "-"}, "[1,2]"), "expected a JSON object");
  expect_refused(run({"solve", "-"}, std::string(200'000, '[')), "not JSON: too deep");
  expect_refused(run({"solve", "-"}, std::string("{\0}", 3)), "not JSON");
}

TEST(SolveCli, RefusesWhatItCannotRead) {
  expect_refused(run({"solve", "/nonexistent/system.json"}), "/nonexistent/system.json: cannot be opened");
  expect_refused(run({"solve", TEST_DATA_DIR}), "cannot be read");
}

TEST(SolveCli, LostOutputIsAFailure) {
  const auto command = "'" INFERNO_BIN "' solve '" + quickstart + "' > /dev/full 2> /dev/null";
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

TEST(SolveCli, RefusesWrongFlags) {
  for (const auto& args : std::vector<std::vector<std::string>>{{"solve"},
                                                                {"solve", quickstart, "--output", "xml"},
                                                                {"solve", quickstart, "--colour"},
                                                                {"solve", quickstart, quickstart}}) {
    const auto r = run(args);
    EXPECT_EQ(r.exit_code, 2);
    EXPECT_EQ(r.out, "");
    EXPECT_NE(r.err, "");
  }
  EXPECT_NE(run({"solve", quickstart, "--output", "xml"}).err.find("xml"), std::string::npos);
}

/// Two variants that want the two A100 there are; the second is less important and dearer to serve.
std::string scarce(int cards) {
  auto v = json::parse(content(quickstart));
  auto& system = v.at("system").as_object();
  auto& servers = v.at_pointer("/system/serverData/servers").as_array();
  auto second = servers[0];
  second.as_object()["name"] = "second";
  second.at("currentAlloc").at("load").as_object()["arrivalRate"] = 60;
  servers.push_back(second);
  system["capacityData"] = json::parse(R"({"count":[{"type":"NVIDIA-A100-PCIE-80GB","count":)" + std::to_string(cards) + "}]}");
  return json::serialize(v);
}

TEST(SolveCli, SaysHowNearTheSolverCameToTheLeastPossible) {
  for (const auto* name : {"auto", "greedy", "exact"}) {
    SCOPED_TRACE(name);
    const auto r = run({"solve", "-", "--solver", name, "-o", "json"}, scarce(4));
    ASSERT_EQ(r.exit_code, 0) << r.err;
    const auto v = json::parse(r.out);
    const auto& solver = v.at("solver").as_object();
    EXPECT_EQ(solver.at("name").as_string(), name);
    EXPECT_GE(number(solver.at("seconds")), 0);
    EXPECT_NEAR(number(v.at("totalCost")), 160, 1e-9) << "one replica and three";
    if (std::string(name) == "greedy") continue;
    EXPECT_EQ(number(solver.at("gap")), 0);
    EXPECT_NEAR(number(solver.at("lowerBound")), 80, 1e-9) << "of the value: two replicas more than now";
  }
}

TEST(SolveCli, RefusesAnUnknownSolver) {
  const auto r = run({"solve", quickstart, "--solver", "magic"});
  EXPECT_EQ(r.exit_code, 2);
  EXPECT_NE(r.err.find("magic"), std::string::npos) << r.err;
  EXPECT_NE(r.err.find("{auto,exact,greedy}"), std::string::npos) << r.err;
}

/// Each solver and each column of the table, as the help has them.
TEST(SolveCli, ExplainsItsSolversAndColumns) {
  const auto help = run({"solve", "--help"}).out;
  for (const char* word : {"auto serves", "exact does", "greedy decides", "RATE/MIN", "WAIT P95", "TTFT P95", "UTIL", "COST"})
    EXPECT_NE(help.find(word), std::string::npos) << word << "\n" << help;
  EXPECT_EQ(help.find("->"), std::string::npos) << "numbers of an enum\n" << help;
  EXPECT_NE(run({"solve", "-"}, scarce(4)).out.find("2 of 2 variants satisfied; value 80.00 cents/h, proven to be the least"),
            std::string::npos);
}

TEST(SolveCli, ExplainsAVariant) {
  const auto r = run({"solve", "-", "--explain", "second", "-o", "json"}, scarce(2));
  ASSERT_EQ(r.exit_code, 0) << r.err;
  const auto e = json::parse(r.out);
  EXPECT_EQ(e.at("variant").as_string(), "second");
  const auto& a100 = e.at("candidates").at(0);
  EXPECT_EQ(a100.at("accelerator").as_string(), "A100");
  EXPECT_EQ(a100.at("numReplicas"), 3);
  EXPECT_EQ(a100.at("gpus"), 3);
  EXPECT_EQ(a100.at("binding").as_string(), "ttw");
  EXPECT_NE(std::string_view(a100.at("denied").as_string()).find("NVIDIA-A100-PCIE-80GB"), std::string::npos) << r.out;
  EXPECT_EQ(e.at_pointer("/capacity/0/limit"), 2);
  EXPECT_EQ(e.at("sloChanges").as_array().size(), 2u);
  for (const auto* form : {"table", "yaml"}) {
    const auto other = run({"solve", "-", "--explain", "second", "-o", form}, scarce(2));
    EXPECT_EQ(other.exit_code, 0) << other.err;
    EXPECT_NE(other.out.find("second"), std::string::npos);
  }
}

TEST(SolveCli, NobodyToExplainIsNamed) { expect_refused(run({"solve", quickstart, "--explain", "nobody"}), "nobody"); }

TEST(SolveCli, AMixOfAcceleratorsIsCheaperThanTheBestOfThem) {
  const std::string pool = TEST_DATA_DIR "/model/pool.json";
  const auto mixed = run({"solve", pool, "-o", "json"});
  ASSERT_EQ(mixed.exit_code, 0) << mixed.err;
  EXPECT_NEAR(number(json::parse(mixed.out).at("totalCost")), 140, 1e-9);
  double best = INFINITY;
  for (int only : {0, 1}) {
    auto v = json::parse(content(pool));
    auto& system = v.as_object().contains("system") ? v.at("system") : v;
    auto& servers = system.at("serverData").at("servers").as_array();
    double rate = 0;
    for (auto& s : servers) rate += number(s.at("currentAlloc").at("load").at("arrivalRate"));
    auto one = servers[static_cast<std::size_t>(only)];
    one.at("currentAlloc").at("load").as_object()["arrivalRate"] = rate;
    servers.clear();
    servers.push_back(one);
    const auto r = run({"solve", "-", "-o", "json"}, json::serialize(v));
    ASSERT_EQ(r.exit_code, 0) << r.err;
    best = std::min(best, number(json::parse(r.out).at("totalCost")));
  }
  EXPECT_GE(best, 140 * 1.2);
}

TEST(SolveCli, WhatWasMeantIsSuggested) {
  const auto error = [](const std::vector<std::string>& args) {
    const auto r = run(args);
    EXPECT_EQ(r.exit_code, 2);
    EXPECT_EQ(r.out, "");
    return r.err;
  };
  EXPECT_EQ(error({"slove"}),
            "inferno: unknown subcommand \"slove\". Did you mean \"solve\"? \"inferno --help\" lists them all.\n");
  EXPECT_EQ(error({"contoller", "--leader-elect"}),
            "inferno: unknown subcommand \"contoller\". Did you mean \"controller\"? \"inferno --help\" lists them all.\n");
  EXPECT_EQ(error({"frobnicate"}), "inferno: unknown subcommand \"frobnicate\". \"inferno --help\" lists them all.\n");
  EXPECT_EQ(error({"solve", quickstart, "--outptu=json"}),
            "inferno solve: unknown flag \"--outptu\". Did you mean \"--output\"? \"inferno solve --help\" lists them all.\n");
  EXPECT_EQ(error({"controller", "--kubeconfig", "--nonsense", "--metrics-surce", "scrape"}),
            "inferno controller: unknown flag \"--metrics-surce\". Did you mean \"--metrics-source\"? "
            "\"inferno controller --help\" lists them all.\n");
  EXPECT_NE(error({}).find("subcommand is required"), std::string::npos);
}

TEST(SolveCli, ExplainsItself) {
  const auto r = run({"solve", "--help"});
  EXPECT_EQ(r.exit_code, 0);
  for (const char* word : {"FILE", "--output", "table", "json", "yaml", "standard input"})
    EXPECT_NE(r.out.find(word), std::string::npos) << word;
}

}  // namespace
}  // namespace inferno
