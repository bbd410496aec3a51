// `make package` and `make install-bin`: what they put where, and that it runs from there.
#include <gmock/gmock.h>

#include "tests/support/process.hpp"

namespace inferno::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

void expect_installed(const fs::path& prefix) {
  for (const auto* file : {"bin/inferno", "share/bash-completion/completions/inferno", "share/zsh/vendor-completions/_inferno",
                           "share/fish/vendor_completions.d/inferno.fish"})
    EXPECT_GT(fs::file_size(prefix / file), 0u) << file;
  EXPECT_FALSE(fs::exists(prefix / "bin" / "inferno-testbed")) << "for tests, not for operators";
  for (const auto& page : fs::directory_iterator(fs::path(REPO_DIR) / "docs"))
    EXPECT_TRUE(fs::exists(prefix / "share" / "doc" / "inferno" / "docs" / page.path().filename())) << page.path();
  const auto version = run_program(prefix / "bin" / "inferno", {"version"});
  EXPECT_EQ(version.exit_code, 0) << version.err;
  EXPECT_THAT(version.out, StartsWith("inferno "));
}

TEST(Package, ADebianPackageHasWhatItNeedsAndNamesWhatItLoads) {
  temp_folder folder;
  const auto made = run_program("cpack", {"--config", std::string(BUILD_DIR) + "/CPackConfig.cmake", "-B", folder.file("out")});
  ASSERT_EQ(made.exit_code, 0) << made.out << made.err;
  std::string package;
  for (const auto& f : fs::directory_iterator(folder.file("out")))
    if (f.path().extension() == ".deb") package = f.path();
  ASSERT_NE(package, "");
  const auto fields = run_program("dpkg-deb", {"--field", package});
  EXPECT_THAT(fields.out,
              AllOf(HasSubstr("Package: inferno\n"), HasSubstr("ca-certificates"), HasSubstr("libc6 (>= "), HasSubstr("libssl3")))
      << fields.err;
  ASSERT_EQ(run_program("dpkg-deb", {"--extract", package, folder.file("root")}).exit_code, 0);
  expect_installed(fs::path(folder.file("root")) / "usr");
}

TEST(Package, InstallsUnderAPrefix) {
  temp_folder folder;
  const auto done = run_program("cmake", {"--install", BUILD_DIR, "--prefix", folder.file("usr"), "--strip"});
  ASSERT_EQ(done.exit_code, 0) << done.out << done.err;
  expect_installed(folder.file("usr"));
}

}  // namespace
}  // namespace inferno::test
