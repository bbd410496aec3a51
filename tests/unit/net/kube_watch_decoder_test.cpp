#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include "net/kube/client.hpp"

namespace inferno::net::kube {
namespace {

std::string shown(const std::vector<watch_event>& events) {
  static constexpr const char* names[] = {"added", "modified", "deleted", "bookmark", "error"};
  std::string out;
  for (const auto& e : events) out += fmt::format("{} {}\n", names[static_cast<int>(e.type)], json::serialize(e.object));
  return out;
}

const std::string lines =
    "{\"type\":\"ADDED\",\"object\":{\"a\":1}}\n"
    "{\"type\":\"MODIFIED\",\"object\":{\"b\":\"line\\nbreak \xC3\xA4\"}}\r\n"
    "\n"
    "{\"object\":{},\"type\":\"DELETED\",\"more\":[1]}\n"
    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"7\"}}}\n"
    "{\"type\":\"ERROR\",\"object\":{\"code\":410,\"reason\":\"Expired\"}}\n";
const std::string events =
    "added {\"a\":1}\nmodified {\"b\":\"line\\nbreak \xC3\xA4\"}\ndeleted {}\n"
    "bookmark {\"metadata\":{\"resourceVersion\":\"7\"}}\nerror {\"code\":410,\"reason\":\"Expired\"}\n";

TEST(watch_decoder_test, gives_the_same_events_wherever_the_bytes_are_split) {
  for (std::size_t first = 0; first <= lines.size(); ++first)
    for (std::size_t second = first; second <= lines.size(); second += 3) {
      watch_decoder decoder;
      std::vector<watch_event> out;
      ASSERT_TRUE(decoder.feed(std::string_view(lines).substr(0, first), out));
      ASSERT_TRUE(decoder.feed(std::string_view(lines).substr(first, second - first), out));
      ASSERT_TRUE(decoder.feed(std::string_view(lines).substr(second), out));
      ASSERT_EQ(shown(out), events) << first << " " << second;
    }
}

TEST(watch_decoder_test, takes_byte_by_byte) {
  watch_decoder decoder;
  std::vector<watch_event> out;
  for (const char c : lines) {
    const auto before = out.size();
    ASSERT_TRUE(decoder.feed(std::string_view(&c, 1), out));
    if (c != '\n') {
      ASSERT_EQ(out.size(), before) << "an event is complete at the line's end only";
    }
  }
  EXPECT_EQ(shown(out), events);
}

TEST(watch_decoder_test, keeps_an_unfinished_line_to_itself) {
  watch_decoder decoder;
  std::vector<watch_event> out;
  ASSERT_TRUE(decoder.feed("{\"type\":\"ADDED\",\"object\":{}}", out));
  EXPECT_TRUE(out.empty());
  ASSERT_TRUE(decoder.feed("\n", out));
  EXPECT_EQ(shown(out), "added {}\n");
}

TEST(watch_decoder_test, a_bad_line_is_an_error_after_the_lines_before_it) {
  for (const char* bad : {"no JSON", "{\"type\":\"ADDED\",\"object\":{}", "[]", "{}", "{\"type\":\"ADDED\"}",
                          "{\"type\":\"ADDED\",\"object\":[]}", "{\"type\":7,\"object\":{}}", "{\"object\":{}}",
                          "{\"type\":\"added\",\"object\":{}}", "{\"type\":\"ADDED\",\"object\":{}}{}"}) {
    watch_decoder decoder;
    std::vector<watch_event> out;
    const auto fed = decoder.feed(fmt::format("{{\"type\":\"ADDED\",\"object\":{{\"n\":1}}}}\n{}\n", bad), out);
    ASSERT_FALSE(fed) << bad;
    EXPECT_EQ(fed.error().kind, error_kind::decode) << bad;
    EXPECT_EQ(fed.error().message.substr(0, 7), "watch: ");
    EXPECT_EQ(shown(out), "added {\"n\":1}\n") << bad;
  }
  watch_decoder decoder;
  std::vector<watch_event> out;
  EXPECT_EQ(decoder.feed("{\"type\":\"RENAMED\",\"object\":{}}\n", out).error().message, "watch: unknown event type \"RENAMED\"");
}

TEST(watch_decoder_test, bounds_a_line_in_one_piece_or_in_many) {
  const std::string fits = "{\"type\":\"ADDED\",\"object\":{\"a\":\"" + std::string(50, 'x') + "\"}}";
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, fits.size() + 2}) {
    const auto feed_all = [piece](const std::string& text, std::size_t limit, std::vector<watch_event>& out) {
      watch_decoder decoder(limit);
      result<void> fed;
      for (std::size_t at = 0; fed && at < text.size(); at += piece)
        fed = decoder.feed(std::string_view(text).substr(at, piece), out);
      return fed;
    };
    std::vector<watch_event> out;
    ASSERT_TRUE(feed_all(fits + "\n" + fits + "\n", fits.size(), out)) << piece;
    EXPECT_EQ(out.size(), 2u);
    out.clear();
    const auto refused = feed_all("{\"type\":\"ADDED\",\"object\":{}}\n" + fits + "\n", fits.size() - 1, out);
    ASSERT_FALSE(refused) << piece;
    EXPECT_EQ(refused.error().kind, error_kind::too_large);
    EXPECT_EQ(refused.error().message, fmt::format("watch: a line is longer than {} bytes", fits.size() - 1));
    EXPECT_EQ(out.size(), 1u) << "what came before is not lost";
  }
  // A line that never ends is refused long before its end.
  watch_decoder decoder(1000);
  std::vector<watch_event> out;
  const std::string endless(300, 'x');
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(decoder.feed(endless, out));
  EXPECT_FALSE(decoder.feed(endless, out));
}

TEST(watch_decoder_test, takes_objects_of_megabytes) {
  watch_decoder decoder;
  std::vector<watch_event> out;
  const auto line = "{\"type\":\"ADDED\",\"object\":{\"a\":\"" + std::string(3u << 20, 'x') + "\"}}\n";
  for (std::size_t at = 0; at < line.size(); at += 16384)
    ASSERT_TRUE(decoder.feed(std::string_view(line).substr(at, 16384), out));
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].object.at("a").as_string().size(), 3u << 20);
}

}  // namespace
}  // namespace inferno::net::kube
