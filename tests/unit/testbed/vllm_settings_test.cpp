// The settings of the emulated vLLM server, by environment name and by flag.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <csignal>
#include <cstdlib>

#include "testbed/commands.hpp"
#include "testbed/vllm/settings.hpp"

namespace inferno::testbed {
namespace {

using environment = std::map<std::string, std::string>;

const model::linear_profile& linear(const vllm_settings& s) { return std::get<model::linear_profile>(s.engine.profile); }

TEST(VllmSettings, ComeFromTheQuickStartsNames) {
  const auto s = parse_settings({{"MODEL_NAME", "granite"},
                                 {"MAX_BATCH_SIZE", "16"},
                                 {"AVG_TOKENS", "178"},
                                 {"TOKENS_DISTRIBUTION", "deterministic"},
                                 {"MAX_SEQ_LEN", "2048"},
                                 {"DECODE_TIME", "20"},
                                 {"PREFILL_TIME", "30"},
                                 {"MEM_SIZE", "80000"},
                                 {"MODEL_SIZE", "25000"},
                                 {"KVC_PER_TOKEN", "2"},
                                 {"UNKNOWN", "x"}});
  ASSERT_TRUE(s) << s.error();
  EXPECT_EQ(s->model, "granite");
  EXPECT_EQ(s->engine.max_batch, 16);
  EXPECT_EQ(s->avg_tokens, 178);
  EXPECT_EQ(s->lengths, length_distribution::constant);
  EXPECT_EQ(s->max_model_len, 2048);
  EXPECT_EQ(linear(*s).alpha_ms, 20);
  EXPECT_EQ(linear(*s).beta_ms, 0);
  EXPECT_EQ(linear(*s).gamma_ms, 30);
  EXPECT_TRUE(linear(*s).has_prefill);
  EXPECT_EQ(s->engine.kv_tokens, 27500);
  EXPECT_EQ(parse_settings({{"MEM_SIZE", "100"}, {"KVC_PER_TOKEN", "1"}})->max_model_len, 100) << "no request can be longer";
}

TEST(VllmSettings, TimesMayDependOnTheBatch) {
  const auto s = parse_settings({{"ALPHA", "20.58"}, {"BETA", "0.41"}, {"GAMMA", "5"}, {"DELTA", "0.1"}, {"DECODE_TIME", "9"}});
  ASSERT_TRUE(s) << s.error();
  EXPECT_EQ(linear(*s).alpha_ms, 20.58);
  EXPECT_EQ(linear(*s).beta_ms, 0.41);
  EXPECT_EQ(linear(*s).delta_ms, 0.1);
}

TEST(VllmSettings, AnIterationProfileHasItsOwnParameters) {
  const auto s = parse_settings({{"PROFILE", "iteration"},
                                 {"ALPHA", "8"},
                                 {"BETA", "0.033"},
                                 {"GAMMA", "0.000333"},
                                 {"MAX_NUM_BATCHED_TOKENS", "2048"},
                                 {"AVG_TOKENS", "300"}});
  ASSERT_TRUE(s) << s.error();
  EXPECT_EQ(std::get<model::iteration_profile>(s->engine.profile), (model::iteration_profile{8, 0.033, 0.000333, 2048}));
  EXPECT_EQ(s->engine.usual_out, 300);
  const auto usual = parse_settings({{"PROFILE", "iteration"}, {"ALPHA", "8"}, {"BETA", "0"}});
  ASSERT_TRUE(usual) << usual.error();
  EXPECT_EQ(std::get<model::iteration_profile>(usual->engine.profile), (model::iteration_profile{8, 0, 0, 8192}));
  EXPECT_EQ(parse_settings({{"PROFILE", "linear"}})->engine.profile, vllm_settings{}.engine.profile);
}

TEST(VllmSettings, AWrongOneIsNamedWithItsValue) {
  for (const auto& [env, what] : std::vector<std::pair<environment, std::string>>{
           {{{"MAX_BATCH_SIZE", "many"}}, "MAX_BATCH_SIZE: expected a number >= 1, got \"many\""},
           {{{"MAX_BATCH_SIZE", "0"}}, "MAX_BATCH_SIZE: expected a number >= 1, got \"0\""},
           {{{"MAX_BATCH_SIZE", "1.5"}}, "MAX_BATCH_SIZE: expected a whole number, got \"1.5\""},
           {{{"AVG_TOKENS", "nan"}}, "AVG_TOKENS"},
           {{{"AVG_TOKENS", "1e17"}}, "AVG_TOKENS"},
           {{{"BETA", "0.4ms"}}, "BETA: expected a number >= 0, got \"0.4ms\""},
           {{{"ALPHA", "0"}, {"BETA", "0"}}, "a decode step must take time"},
           {{{"TOKENS_DISTRIBUTION", "normal"}}, "got \"normal\""},
           {{{"PROFILE", "cubic"}}, "PROFILE: expected linear or iteration, got \"cubic\""},
           {{{"PROFILE", "iteration"}, {"ALPHA", "8"}}, "BETA: PROFILE=iteration needs it"},
           {{{"PROFILE", "iteration"}, {"ALPHA", "0"}, {"BETA", "0"}}, "an iteration must take time"},
           {{{"PROFILE", "iteration"}, {"ALPHA", "8"}, {"BETA", "-1"}}, "BETA: expected a number >= 0, got \"-1\""},
           {{{"PROFILE", "iteration"}, {"ALPHA", "8"}, {"BETA", "1"}, {"DELTA", "0.1"}},
            "DELTA: PROFILE=iteration has ALPHA, BETA and GAMMA only, got \"0.1\""},
           {{{"PROFILE", "iteration"}, {"ALPHA", "8"}, {"BETA", "1"}, {"MAX_NUM_BATCHED_TOKENS", "0"}},
            "MAX_NUM_BATCHED_TOKENS: expected a number >= 1, got \"0\""},
           {{{"MAX_NUM_BATCHED_TOKENS", "2048"}}, "MAX_NUM_BATCHED_TOKENS: only PROFILE=iteration has it, got \"2048\""},
           {{{"MEM_SIZE", "10"}, {"MODEL_SIZE", "20"}, {"KVC_PER_TOKEN", "1"}}, "MEM_SIZE: 10 MB leave no room"}}) {
    const auto s = parse_settings(env);
    ASSERT_FALSE(s) << what;
    EXPECT_NE(s.error().find(what), std::string::npos) << s.error();
  }
}

/// What `inferno-testbed vllm` with these flags says as it refuses them.
class VllmFlags : public ::testing::Test {
 protected:
  std::string refused(std::vector<std::string> flags) {
    CLI::App app;
    add_vllm(app);
    flags.insert(flags.begin(), "vllm");
    std::reverse(flags.begin(), flags.end());  // as CLI11 takes them
    // The command blocks the signals that would stop it; this process goes on.
    sigset_t before;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
    ::testing::internal::CaptureStderr();
    int code = 0;
    try {
      app.parse(std::move(flags));
    } catch (const CLI::ParseError& e) {
      code = e.get_exit_code();
    }
    auto said = ::testing::internal::GetCapturedStderr();
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    EXPECT_EQ(code, 2) << said;
    return said;
  }
  /// A variable of the environment for the time of a test.
  struct variable {
    const char* name;
    variable(const char* n, const char* value) : name(n) { ::setenv(n, value, 1); }
    ~variable() { ::unsetenv(name); }
  };
};

TEST_F(VllmFlags, EachOneIsRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> all{{"--max-batch-size", "MAX_BATCH_SIZE"},
                                                             {"--max-queue", "MAX_QUEUE"},
                                                             {"--avg-tokens", "AVG_TOKENS"},
                                                             {"--tokens-distribution", "TOKENS_DISTRIBUTION"},
                                                             {"--max-seq-len", "MAX_SEQ_LEN"},
                                                             {"--profile", "PROFILE"},
                                                             {"--max-num-batched-tokens", "MAX_NUM_BATCHED_TOKENS"},
                                                             {"--alpha", "ALPHA"},
                                                             {"--beta", "BETA"},
                                                             {"--gamma", "GAMMA"},
                                                             {"--delta", "DELTA"},
                                                             {"--decode-time", "DECODE_TIME"},
                                                             {"--prefill-time", "PREFILL_TIME"},
                                                             {"--mem-size", "MEM_SIZE"},
                                                             {"--model-size", "MODEL_SIZE"},
                                                             {"--kvc-per-token", "KVC_PER_TOKEN"},
                                                             {"--seed", "SEED"}};
  for (const auto& [flag, name] : all) {
    const auto said = refused({flag, "much"});
    EXPECT_EQ(said.rfind("inferno-testbed vllm: " + name + ": ", 0), 0u) << said;
    EXPECT_NE(said.find("got \"much\""), std::string::npos) << said;
    const variable inherited(name.c_str(), "little");
    EXPECT_NE(refused({}).find("got \"little\""), std::string::npos) << name;
    EXPECT_NE(refused({flag, "much"}).find("got \"much\""), std::string::npos) << "the flag comes before the environment";
  }
}

TEST_F(VllmFlags, APortInUseIsNamed) {
  boost::asio::io_context context;
  using tcp = boost::asio::ip::tcp;
  const tcp::acceptor taken(context, tcp::endpoint(boost::asio::ip::make_address("127.0.0.1"), 0));
  const auto port = std::to_string(taken.local_endpoint().port());
  const auto said = refused({"--alpha", "1", "--beta", "0.1", "--model", "m", "--port", port});
  EXPECT_NE(said.find("127.0.0.1:" + port), std::string::npos) << said;
}

}  // namespace
}  // namespace inferno::testbed
