// The commands of README.md, as they stand there.
#include <gmock/gmock.h>

#include <regex>

#include "tests/support/process.hpp"

namespace inferno::test {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

namespace fs = std::filesystem;

/// The first block of commands after `heading`.
std::string commands_after(const std::string& heading) {
  std::ifstream in(fs::path(REPO_DIR) / "README.md");
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const auto from = text.find("```sh\n", text.find(heading)) + 6;
  return text.substr(from, text.find("```", from) - from);
}

/// A network namespace of its own where the system allows it: the commands use fixed ports. Else this machine's.
std::pair<std::string, std::vector<std::string>> shell() {
  const std::vector<std::string> apart{"--net", "--map-root-user", "bash", "-c"};
  auto probe = apart;
  probe.emplace_back("ip link set lo up");
  if (run_program("unshare", probe).exit_code == 0) return {"unshare", apart};
  return {"bash", {"-c"}};
}

/// The largest number of replicas that the controller has decided on, by its log.
int most_replicas(const std::string& log) {
  int most = 0;
  const std::regex number("Optimization solution.*\"numReplicas\":([0-9]+)");
  std::istringstream lines(log);
  std::smatch found;
  for (std::string line; std::getline(lines, line);)
    if (std::regex_search(line, found, number)) most = std::max(most, std::stoi(found[1]));
  return most;
}

TEST(Readme, TheCommandsWithoutAClusterWorkAsTheyStandThere) {
  auto script = commands_after("**Without a cluster.**");
  // The load of two and a half minutes becomes one of seconds; nothing else is changed.
  const std::string rate = "'[[60,20],[90,40]]'";
  ASSERT_THAT(script, HasSubstr(rate));
  script.replace(script.find(rate), rate.size(), "'[[3,20],[5,40]]'");
  temp_folder folder;
  fs::create_directory(folder.file("build"));
  fs::create_directory_symlink(BUILD_DIR, folder.file("build/release"));
  fs::create_directory_symlink(fs::path(REPO_DIR) / "deploy", folder.file("deploy"));
  auto [program, args] = shell();
  const auto cd =
      "ip link set lo up 2> /dev/null || true\nset -eu\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\nexport HOME=" +
      folder.file("") + "\ncd " + folder.file("") + "\n";
  args.push_back(cd + script + "wait || true\n");
  args.insert(args.begin(), {"120", program});
  const auto done = run_program("timeout", args);
  std::ifstream log(folder.file("controller.log"));
  const std::string controller(std::istreambuf_iterator<char>(log), {});
  EXPECT_EQ(done.exit_code, 0) << done.out << done.err << controller;
  EXPECT_THAT(done.out, ContainsRegex("within objectives: [0-9.]+ % of [0-9]+ requests \\(ITL <= 24 ms"));
  // The four requests or so of these seconds may look like more than two GPUs can take, on a busy machine that bunches them for
  // one. The condition says so then, and what is granted is within the two.
  EXPECT_THAT(done.out, ContainsRegex("llm-d-sim +vllme-deployment +default +Premium +A100 +(Optimized|CapacityLimited)"))
      << controller;
  EXPECT_GE(most_replicas(controller), 1) << controller;
  EXPECT_LE(most_replicas(controller), 2) << controller;
  EXPECT_THAT(done.out, ContainsRegex("llm-d-sim +vllme-deployment +default +A100 +[12] +[12] "));
}

}  // namespace
}  // namespace inferno::test
