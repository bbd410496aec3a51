#include "net/token_file.hpp"

#include "tests/support/net_folder.hpp"

namespace inferno::net {
namespace {

namespace fs = std::filesystem;

class token_file_test : public test::folder_fixture {
 protected:
  token_file token{folder / "token"};
};

TEST_F(token_file_test, reads_the_file_again_when_it_changes) {
  put("token", "first \r\n");
  EXPECT_EQ(token(), "first");
  EXPECT_EQ(token(), "first");
  swap("token", "second");
  EXPECT_EQ(token(), "second");
  put("token", "written in place, and longer\n");
  EXPECT_EQ(token(), "written in place, and longer");
}

TEST_F(token_file_test, does_not_read_an_unchanged_file_again) {
  put("token", "first");
  const auto written = fs::last_write_time(folder / "token");
  EXPECT_EQ(token(), "first");
  put("token", "other");
  fs::last_write_time(folder / "token", written);
  EXPECT_EQ(token(), "first") << "same time, size and inode";
}

TEST_F(token_file_test, a_moment_without_the_file_keeps_the_token) {
  EXPECT_EQ(token(), "") << "there was no file yet";
  put("token", "first");
  EXPECT_EQ(token(), "first");
  fs::remove(folder / "token");
  EXPECT_EQ(token(), "first");
  fs::create_directory(folder / "token");
  EXPECT_EQ(token(), "first") << "a folder is no token";
  fs::remove(folder / "token");
  put("token", "third");
  EXPECT_EQ(token(), "third");
}

TEST_F(token_file_test, an_empty_file_is_looked_at_until_there_is_a_token) {
  put("token", "\n\n");
  EXPECT_EQ(token(), "");
  const auto written = fs::last_write_time(folder / "token");
  put("token", "ab");
  fs::last_write_time(folder / "token", written);
  EXPECT_EQ(token(), "ab") << "even one with the stamp of the empty file";
}

TEST_F(token_file_test, follows_the_links_kubernetes_swaps) {
  fs::create_directory(folder / "one");
  fs::create_directory(folder / "two");
  put("one/token", "first");
  put("two/token", "other");
  fs::create_symlink("one", folder / "data");
  fs::create_symlink("data/token", folder / "token");
  EXPECT_EQ(token(), "first");
  fs::create_symlink("two", folder / "data.new");
  fs::rename(folder / "data.new", folder / "data");
  EXPECT_EQ(token(), "other");
}

TEST(read_file_test, takes_the_bytes_as_they_are_and_refuses_folders) {
  EXPECT_EQ(read_file(testing::TempDir()), std::nullopt);
  EXPECT_EQ(read_file(testing::TempDir() + "no/such/file"), std::nullopt);
  const auto name = testing::TempDir() + "inferno_read_file_test";
  const std::string bytes = std::string(10000, 'x') + std::string("\r\n\0\x1a end", 8);
  std::ofstream(name, std::ios::binary) << bytes;
  EXPECT_EQ(read_file(name), bytes);
  std::filesystem::remove(name);
}

}  // namespace
}  // namespace inferno::net
