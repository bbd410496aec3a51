// `inferno fit` as its users run it.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fstream>

#include "tests/support/process.hpp"

namespace inferno {
namespace {

namespace json = boost::json;

test::outcome run(std::vector<std::string> args, const std::string& input = {}) {
  return test::run_program(INFERNO_BIN, std::move(args), input);
}

/// Decode step 20 + 0.5 n, prefill 10 + 0.02 in n, without noise.
const std::string measured =
    "concurrency,in_tokens,out_tokens,itl_ms,ttft_ms\n"
    "1,100,50,20.5,12\n2,100,50,21,14\n4,100,50,22,18\n8,200,50,24,42\n";

TEST(FitCli, PrintsParametersWithTheirConfidence) {
  const auto r = run({"fit", "-"}, measured);
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(r.err, "");
  for (const auto* line :
       {"alpha ", "beta ", "gamma ", "delta ", "ITL   error: 0.0 % on average", "TTFT  error: 0.0 % on average"})
    EXPECT_NE(r.out.find(line), std::string::npos) << line << "\n" << r.out;
}

TEST(FitCli, ItsJsonIsAModelOfSystemData) {
  const auto fitted = run({"fit", "-", "--output", "json"}, measured);
  ASSERT_EQ(fitted.exit_code, 0) << fitted.err;
  std::ifstream in(TEST_DATA_DIR "/model/quickstart.json");
  auto v = json::parse(std::string(std::istreambuf_iterator<char>(in), {}));
  auto& model = v.at_pointer("/system/modelData/models/0").as_object();
  for (const auto* old : {"alpha", "beta"}) model.erase(old);
  const auto fields = json::parse(fitted.out);
  for (const auto& [key, value] : fields.as_object()) model[key] = value;
  const auto solved = run({"solve", "-", "-o", "json"}, json::serialize(v));
  ASSERT_EQ(solved.exit_code, 0) << solved.err << fitted.out;
  const auto solution = json::parse(solved.out);
  const auto& a = solution.at("allocations").as_object().begin()->value();
  EXPECT_GT(a.at("itlAverage").to_number<double>(), 20.5);
  EXPECT_LT(a.at("itlAverage").to_number<double>(), 22);
}

TEST(FitCli, FitsTheIterationProfile) {
  std::string rows = "concurrency,in_tokens,out_tokens,itl_ms\n";
  for (const int n : {1, 4, 16})
    for (const int in : {64, 512})
      for (const int out : {64, 256})
        rows += std::to_string(n) + "," + std::to_string(in) + "," + std::to_string(out) + "," +
                std::to_string(8 + 0.05 * n + 0.001 * n * in / out) + "\n";
  const auto r = run({"fit", "-", "--profile", "iteration", "--max-batched-tokens", "2048", "-o", "json"}, rows);
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_NE(r.out.find("iterationParms"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("2048"), std::string::npos) << r.out;
}

TEST(FitCli, ReadsThePublishedMeasurements) {
  const auto r = run({"fit", TEST_DATA_DIR "/measurements/a100-opt-125m.csv"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_NE(r.out.find("86 rows"), std::string::npos) << r.out;
}

TEST(FitCli, RefusesInOneLine) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "no line with the names of columns"},
      {"itl_ms,concurrency\n20,1\n", "no column out_tokens; line 1 names the columns itl_ms, concurrency"},
      {"out_tokens,concurrency,itl_ms\n50,1,quick\n", "line 2: itl_ms: expected a number >= 0, got \"quick\""},
      {"out_tokens,concurrency,itl_ms\n50,0,20\n", "line 2: concurrency: expected a number > 0, got 0"},
      {"out_tokens,concurrency,itl_ms\n50,4,20\n50,4,21\n50,4,22\n", "beta cannot be told apart"},
      {"out_tokens,concurrency,itl_ms\n50,4,20\n", "1 rows cannot tell 2 parameters"},
      {std::string("out_tokens,concurrency,itl_ms\n\0,4,2\n", 36), "line 2: "},
  };
  for (const auto& [input, what] : cases) {
    const auto r = run({"fit", "-"}, input);
    EXPECT_EQ(r.exit_code, 2) << what;
    EXPECT_EQ(r.out, "");
    EXPECT_EQ(r.err.rfind("inferno fit: standard input: ", 0), 0u) << r.err;
    EXPECT_NE(r.err.find(what), std::string::npos) << r.err;
  }
  const auto none = run({"fit", "/nowhere.csv"});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_NE(none.err.find("/nowhere.csv"), std::string::npos);
  EXPECT_EQ(run({"fit", "-", "--profile", "cubic"}, measured).exit_code, 2);
}

}  // namespace
}  // namespace inferno
