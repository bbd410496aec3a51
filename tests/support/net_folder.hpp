#pragma once
// A folder of a test's own, gone with it.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace inferno::test {

class folder_fixture : public ::testing::Test {
 protected:
  folder_fixture() {
    std::string name = testing::TempDir() + "inferno-XXXXXX";
    if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    folder = name;
  }
  ~folder_fixture() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  void put(const std::string& name, const std::string& text) { std::ofstream(folder / name, std::ios::binary) << text; }
  /// Replaces the file as Kubernetes does, so that it is another one even within the clock's resolution.
  void swap(const std::string& name, const std::string& text) {
    put(name + ".new", text);
    std::filesystem::rename(folder / (name + ".new"), folder / name);
  }
  std::string path(const std::string& name) const { return (folder / name).string(); }

  std::filesystem::path folder;
};

}  // namespace inferno::test
