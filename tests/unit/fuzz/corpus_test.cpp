// The corpus of the fuzz targets, run once: what was found stays mended.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/fuzz/fuzz.hpp"

namespace inferno::fuzz {
namespace {

std::string content(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

class FuzzCorpus : public ::testing::TestWithParam<target> {};

TEST_P(FuzzCorpus, BreaksNoPromise) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(REPO_DIR) + "/tests/fuzz/corpus/" + std::string(GetParam().name))) {
    GetParam().run(content(entry.path()));
    ++files;
  }
  EXPECT_GE(files, 3) << "seeds are missing";
  GetParam().run("");
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzCorpus, ::testing::ValuesIn(targets()),
                         [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace inferno::fuzz
