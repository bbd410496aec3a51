// Numbers from outside: every spelling that is no decimal number is refused, by the field's name, wherever it stands.
#include "model/limits.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <random>

#include "model/codec.hpp"
#include "model/system_json.hpp"

namespace inferno::model {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const char* const no_numbers[] = {"",       " ",   " 5",       "5 ",   "+5",   "--5", "0x10", "1e400", "-1e400",
                                  "1e-400", "NaN", "nan",      "-nan", "inf",  "Inf", "-inf", "1,5",   "1_0",
                                  "5ms",    "1e",  "e5",       ".",    "5..1", "٥",   "true", "null",  "1 2",
                                  "1/2",    "5\n", "infinity", "0b1",  "1e+",  "5f",  "$5"};

TEST(Numbers, AreDecimalAndNothingElse) {
  for (const auto* text : no_numbers) EXPECT_EQ(parse_number(std::string_view(text)), std::nullopt) << text;
  EXPECT_EQ(parse_number(std::string_view("5\0", 2)), std::nullopt);
  EXPECT_EQ(parse_number("20.58"), 20.58);
  EXPECT_EQ(parse_number("1e3"), 1000);
  EXPECT_EQ(parse_number("-4"), -4);
  EXPECT_FALSE(std::signbit(*parse_number("-0")));
  EXPECT_FALSE(std::signbit(*number_in_json(json::value(-0.0))));
  EXPECT_EQ(number_in_json(json::value("7.5")), 7.5);
  EXPECT_EQ(number_in_json(json::value(std::numeric_limits<double>::infinity())), std::nullopt);
  for (const auto& v : {json::value(nullptr), json::value(true), json::value(json::array{1}), json::value(json::object{})})
    EXPECT_EQ(number_in_json(v), std::nullopt) << json::serialize(v);
}

/// Random texts of the characters numbers are made of, against strtod.
TEST(Numbers, MeanWhatTheCLibraryReads) {
  std::mt19937 rng(51);
  const std::string_view alphabet = "0123456789..--+eExX naif";
  for (int i = 0; i < 200'000; ++i) {
    std::string text(rng() % 8, ' ');
    for (auto& c : text) c = alphabet[rng() % alphabet.size()];
    const auto x = parse_number(std::string_view(text));
    if (!x) continue;
    char* end = nullptr;
    EXPECT_EQ(*x, std::strtod(text.c_str(), &end)) << text;
    EXPECT_EQ(*end, '\0') << text;
    EXPECT_EQ(text.find_first_not_of("0123456789.-eE+"), std::string::npos) << text;
    EXPECT_NE(text[0], '+');
  }
}

TEST(Limits, HoldBothEndsAndNothingBeyond) {
  EXPECT_TRUE(limits::batch.hold(1) && limits::batch.hold(65536));
  EXPECT_FALSE(limits::batch.hold(0) || limits::batch.hold(65537) || limits::batch.hold(1.5) || limits::batch.hold(NAN));
  EXPECT_FALSE(limits::kv_gib.hold(0));
  EXPECT_TRUE(limits::kv_gib.hold(1e-9));
  EXPECT_EQ(limits::batch.text(), "a whole number from 1 to 65536");
  EXPECT_EQ(limits::target.text(), "a number from 0 to 1000000000");
  EXPECT_EQ(limits::kv_gib.text(), "a number above 0 and up to 1000000");
}

/// Every number of a system, replaced by each of what is none, and by numbers beyond any limit.
TEST(Limits, EveryNumberOfASystemIsCheckedByName) {
  std::ifstream in(TEST_DATA_DIR "/model/quickstart.json");
  const auto original = json::parse(std::string(std::istreambuf_iterator<char>(in), {}));
  std::vector<std::pair<std::string, std::string>> numbers;  // JSON pointer, path as errors name it
  const auto collect = [&](const auto& self, const json::value& v, const std::string& pointer, const std::string& path) -> void {
    if (v.is_object())
      for (const auto& [name, inner] : v.get_object())
        self(self, inner, pointer + "/" + std::string(name), path.empty() ? std::string(name) : path + "." + std::string(name));
    if (v.is_array())
      for (std::size_t i = 0; i < v.get_array().size(); ++i)
        self(self, v.get_array()[i], pointer + "/" + std::to_string(i), path + "[" + std::to_string(i) + "]");
    if (v.is_number()) numbers.emplace_back(pointer, path);
  };
  collect(collect, original, "", "");
  ASSERT_GT(numbers.size(), 25u);
  std::vector<json::value> wrong{-1,   -1e-9,   1e300, 1e17,         std::numeric_limits<std::uint64_t>::max(),
                                 "-1", "1e300", true,  json::array{}};
  for (const auto* text : no_numbers) wrong.emplace_back(text);
  for (const auto& [pointer, path] : numbers) {
    SCOPED_TRACE(path);
    for (const auto& value : wrong) {
      auto v = original;
      v.at_pointer(pointer) = value;
      const auto s = parse_system(json::serialize(v));
      ASSERT_FALSE(s) << json::serialize(value);
      EXPECT_THAT(s.error(), StartsWith(path + ": expected ")) << json::serialize(value);
      EXPECT_THAT(s.error(), HasSubstr(", got ")) << json::serialize(value);
    }
  }
}

}  // namespace
}  // namespace inferno::model
