// What make does before the tests against real servers, with stand-ins for the tools it calls.
#include <gtest/gtest.h>

#include "tests/support/net_folder.hpp"
#include "tests/support/process.hpp"

namespace inferno::test {
namespace {

namespace fs = std::filesystem;

/// The Makefile in a folder of its own: every tool writes its name and arguments into `calls`; deploy-tools.sh may fail.
class MakeTestE2e : public folder_fixture {
 protected:
  MakeTestE2e() {
    fs::copy_file(std::string(REPO_DIR) + "/Makefile", folder / "Makefile");
    fs::create_directory(folder / "tools");
    fs::create_directory(folder / "bin");
    for (const auto* name : {"tools/install-deps.sh", "tools/make-rootfs.sh", "bin/cmake", "bin/ctest"}) tool(name, "");
    tool("tools/kubernetes-servers.sh", "echo /servers/$1");
    tool("tools/deploy-tools.sh", "echo /built");
  }
  void tool(const std::string& name, const std::string& does) {
    put(name, "#!/bin/sh\necho " + fs::path(name).filename().string() + " \"$@\" >> '" + path("calls") + "'\n" + does + "\n");
    fs::permissions(folder / name, fs::perms::owner_all);
  }
  outcome make(std::vector<std::string> environment) {
    std::vector<std::string> args{"-u", "MAKEFLAGS", "-u", "KUBEBUILDER_ASSETS", "-u", "INFERNO_DEPLOY_TOOLS"};
    const char* search = std::getenv("PATH");
    args.push_back("PATH=" + path("bin") + ":" + (search ? search : ""));
    args.insert(args.end(), environment.begin(), environment.end());
    args.insert(args.end(), {"make", "-s", "-C", folder.string(), "test-e2e"});
    return run_program("/usr/bin/env", args);
  }
  bool called(const std::string& part) const {
    std::ifstream in(folder / "calls");
    for (std::string line; std::getline(in, line);)
      if (line.find(part) != std::string::npos) return true;
    return false;
  }
};

TEST_F(MakeTestE2e, BuildsWhatIsNotGiven) {
  const auto done = make({});
  EXPECT_EQ(done.exit_code, 0) << done.err;
  EXPECT_TRUE(called("-DINFERNO_E2E_SERVERS=current=/servers/current;oldest=/servers/oldest -DINFERNO_DEPLOY_TOOLS=/built"));
  EXPECT_TRUE(called("ctest"));
}

TEST_F(MakeTestE2e, BuildsNothingWhenAllIsGiven) {
  const auto done = make({"KUBEBUILDER_ASSETS=/assets", "INFERNO_DEPLOY_TOOLS=/tools"});
  EXPECT_EQ(done.exit_code, 0) << done.err;
  EXPECT_TRUE(called("-DINFERNO_E2E_SERVERS=given=/assets -DINFERNO_DEPLOY_TOOLS=/tools"));
  EXPECT_FALSE(called("kubernetes-servers.sh"));
  EXPECT_FALSE(called("deploy-tools.sh"));
  EXPECT_TRUE(called("ctest"));
}

TEST_F(MakeTestE2e, StopsWhenAToolCannotBeHad) {
  tool("tools/deploy-tools.sh", "exit 1");
  for (const auto* assets : {"KUBEBUILDER_ASSETS=/assets", "KUBEBUILDER_ASSETS="}) {
    EXPECT_NE(make({assets}).exit_code, 0) << assets;
    EXPECT_FALSE(called("ctest")) << assets;
  }
  tool("tools/deploy-tools.sh", "echo /built");
  tool("tools/kubernetes-servers.sh", "[ $1 = current ] && echo /there");
  EXPECT_NE(make({}).exit_code, 0);
  EXPECT_FALSE(called("ctest"));
}

}  // namespace
}  // namespace inferno::test
