#include "net/http/gzip.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/net_gzip.hpp"

namespace inferno::net {
namespace {

using test::gzip_writer;
using test::gzipped;

struct outcome {
  std::string text;
  std::string problem;  ///< "" = none
  error_kind kind = error_kind::cancelled;
};

outcome inflate(std::string_view bytes, std::size_t chunk = 1u << 30, std::size_t max_text = 1u << 30) {
  gzip_inflater inflater(max_text);
  outcome out;
  result<void> r;
  for (std::size_t i = 0; r && i < bytes.size(); i += chunk) r = inflater.feed(bytes.substr(i, chunk), out.text);
  if (r) r = inflater.finish();
  if (!r) {
    out.problem = r.error().message;
    out.kind = r.error().kind;
  }
  return out;
}

/// Half of it compresses well.
std::string sample(std::size_t size) {
  std::string out;
  std::uint64_t x = 7;
  while (out.size() < size) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    out += out.size() % 200 < 100 ? static_cast<char>(x >> 56) : 'a';
  }
  return out;
}

TEST(gzip_test, inflates_at_every_chunk_size) {
  const auto text = sample(3000);
  const auto bytes = gzipped(text);
  for (std::size_t chunk = 1; chunk <= bytes.size(); ++chunk) {
    const auto got = inflate(bytes, chunk);
    ASSERT_EQ(got.problem, "") << chunk;
    ASSERT_TRUE(got.text == text) << chunk;
  }
}

TEST(gzip_test, inflates_texts_of_all_sizes) {
  for (const std::size_t size : {0u, 1u, 16383u, 16384u, 16385u, 32768u, 1000000u})
    for (const std::size_t chunk : {1u << 12, 1u << 30}) {
      const auto text = sample(size);
      const auto got = inflate(gzipped(text), chunk);
      EXPECT_EQ(got.problem, "") << size;
      EXPECT_TRUE(got.text == text) << size;
    }
  EXPECT_EQ(inflate("").problem, "") << "no bytes, no text";
  EXPECT_TRUE(inflate(gzipped(std::string(5000000, 'x'))).text == std::string(5000000, 'x'));
}

TEST(gzip_test, takes_members_one_after_the_other) {
  const auto bytes = gzipped("one ") + gzipped("") + gzipped("two ") + gzipped(std::string(20000, 'x'));
  for (const std::size_t chunk : {std::size_t(1), std::size_t(7), bytes.size()}) {
    const auto got = inflate(bytes, chunk);
    EXPECT_EQ(got.problem, "");
    EXPECT_TRUE(got.text == "one two " + std::string(20000, 'x'));
  }
}

TEST(gzip_test, what_is_flushed_is_given_at_once) {
  gzip_writer writer;
  gzip_inflater inflater;
  std::string got;
  for (int i = 0; i < 100; ++i) {
    const auto event = fmt::format("{{\"event\":{}}}\n", i);
    got.clear();
    ASSERT_TRUE(inflater.feed(writer.flushed(event), got));
    ASSERT_EQ(got, event);
    EXPECT_FALSE(inflater.finish());
  }
  const std::string large(100000, 'y');
  got.clear();
  ASSERT_TRUE(inflater.feed(writer.flushed(large), got));
  EXPECT_TRUE(got == large);
  ASSERT_TRUE(inflater.feed(writer.ended(), got));
  EXPECT_TRUE(inflater.finish());
}

TEST(gzip_test, cut_short_anywhere_is_an_error) {
  const auto text = sample(500);
  const auto bytes = gzipped(text);
  for (std::size_t size = 1; size < bytes.size(); ++size) {
    const auto got = inflate(std::string_view(bytes).substr(0, size));
    ASSERT_EQ(got.problem, "the gzip is cut short") << size;
    EXPECT_EQ(got.kind, error_kind::protocol);
    EXPECT_EQ(got.text, text.substr(0, got.text.size()));
  }
}

TEST(gzip_test, damage_never_gives_another_text) {
  const auto text = sample(500);
  const auto bytes = gzipped(text);
  int harmless = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      auto damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      const auto got = inflate(damaged, 50);
      if (got.problem.empty()) {
        // In the time of writing and the like, or between the last bit and the next byte.
        ++harmless;
        EXPECT_EQ(got.text, text) << at << " " << bit;
      } else {
        EXPECT_EQ(got.kind, error_kind::protocol) << at;
      }
    }
  EXPECT_LT(harmless, 7 * 8 + 8);
  EXPECT_EQ(inflate("not gzip at all").problem, "damaged gzip: incorrect header check");
  EXPECT_EQ(inflate(gzipped("x") + "rubbish").problem, "damaged gzip: incorrect header check");
}

TEST(gzip_test, a_bomb_is_an_error_before_it_goes_off) {
  const auto bomb = gzipped(std::string(100u << 20, '\0'));
  ASSERT_LT(bomb.size(), 200000u);
  for (const std::size_t limit : {0u, 1u, 1000u, 16384u, 1u << 20})
    for (const std::size_t chunk : {std::size_t(100), bomb.size()}) {
      const auto got = inflate(bomb, chunk, limit);
      EXPECT_EQ(got.problem, fmt::format("the inflated text is larger than {} bytes", limit));
      EXPECT_EQ(got.kind, error_kind::too_large);
      EXPECT_EQ(got.text.size(), limit);
      EXPECT_LE(got.text.capacity(), 2 * (limit + 16384));
    }
  std::string members;
  for (int i = 0; i < 100; ++i) members += gzipped(std::string(1000, 'x'));
  EXPECT_EQ(inflate(members, 10, 99999).kind, error_kind::too_large);
  EXPECT_EQ(inflate(members, 10, 100000).problem, "");
}

TEST(gzip_test, the_limit_itself_is_allowed) {
  for (const std::size_t size : {0u, 1u, 1000u, 16383u, 16384u, 16385u, 100000u}) {
    const auto text = sample(size);
    const auto bytes = gzipped(text);
    for (const std::size_t chunk : {std::size_t(1), bytes.size()}) {
      EXPECT_EQ(inflate(bytes, chunk, size).problem, "") << size;
      EXPECT_TRUE(inflate(bytes, chunk, size).text == text);
      if (size == 0) continue;
      EXPECT_EQ(inflate(bytes, chunk, size - 1).kind, error_kind::too_large) << size;
    }
  }
}

}  // namespace
}  // namespace inferno::net
