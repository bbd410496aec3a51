#include "net/token_file.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

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

TEST(read_file_test, refuses_what_is_no_regular_file_or_too_large) {
  const auto problem = [](const std::string& path, std::size_t most = small_file) {
    const auto read = read_file(path, most);
    return read ? std::string("no problem") : read.error().message;
  };
  EXPECT_EQ(problem("/dev/zero"), "is not a regular file");
  EXPECT_EQ(problem("/dev/null"), "is not a regular file");
  EXPECT_EQ(problem(testing::TempDir()), "is not a regular file");
  EXPECT_EQ(problem(testing::TempDir() + "no/such/file"), "cannot be read");
  const auto name = testing::TempDir() + fmt::format("inferno_read_file_test_{}", ::getpid());
  ASSERT_EQ(::mkfifo(name.c_str(), 0600), 0);
  EXPECT_EQ(problem(name), "is not a regular file") << "and nobody waits for its writer";
  std::filesystem::remove(name);
  std::ofstream(name) << std::string(small_file, 'x');
  EXPECT_EQ(problem(name), "no problem");
  std::ofstream(name, std::ios::app) << "x";
  EXPECT_EQ(problem(name), "is larger than 1048576 bytes");
  EXPECT_EQ(problem(name, small_file + 1), "no problem");
  // Sparse, as an attacker would make it.
  std::filesystem::resize_file(name, std::uintmax_t(1) << 40);
  EXPECT_EQ(problem(name), "is larger than 1048576 bytes");
  std::filesystem::remove(name);
}

TEST(read_file_test, takes_the_bytes_as_they_are) {
  const auto name = testing::TempDir() + "inferno_read_file_test";
  const std::string bytes = std::string(10000, 'x') + std::string("\r\n\0\x1a end", 8);
  std::ofstream(name, std::ios::binary) << bytes;
  EXPECT_EQ(read_file(name).value(), bytes);
  std::filesystem::remove(name);
}

}  // namespace
}  // namespace inferno::net
