#include "net/metrics/exposition.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "net/metrics/number.hpp"

namespace inferno::net::metrics {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

/// Name, labels and value of a sample in one line, for comparison.
std::string shown(const sample& s) {
  std::string out(s.name);
  for (const auto& l : s.labels) out += fmt::format("|{}={}", l.name, l.value);
  return fmt::format("{} {}", out, s.value);
}

std::vector<std::string> shown(const exposition& e) {
  std::vector<std::string> out;
  for (const auto& s : e.samples) out.push_back(shown(s));
  return out;
}

constexpr std::string_view vllm = R"(# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="meta-llama/Llama-3.1-8B"} 3.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="meta-llama/Llama-3.1-8B"} 0.4375
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="meta-llama/Llama-3.1-8B"} 1.234567e+06
vllm:request_success_total{engine="0",finished_reason="length",model_name="meta-llama/Llama-3.1-8B"} 0.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{le="0.001",model_name="m"} 0.0
vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="m"} 7.0
vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="m"} 9.0
vllm:time_to_first_token_seconds_count{model_name="m"} 9.0
vllm:time_to_first_token_seconds_sum{model_name="m"} 0.8125
python_gc_objects_collected_total{generation="0"} 8214.0
)";

TEST(exposition_test, reads_what_vllm_writes) {
  const auto e = parse_exposition(vllm);
  EXPECT_EQ(e.bad_lines, 0u) << e.first_bad;
  ASSERT_EQ(e.samples.size(), 10u);
  EXPECT_EQ(shown(e.samples[0]), "vllm:num_requests_running|engine=0|model_name=meta-llama/Llama-3.1-8B 3");
  EXPECT_EQ(e.samples[1].value, 0.4375);
  EXPECT_EQ(e.samples[2].value, 1234567.0);
  EXPECT_EQ(e.samples[2].label_value("finished_reason"), "stop");
  EXPECT_EQ(e.samples[2].label_value("absent"), "");
  EXPECT_EQ(shown(e.samples[9]), "python_gc_objects_collected_total|generation=0 8214");
}

TEST(exposition_test, a_histogram_is_its_buckets_count_and_sum) {
  const auto e = parse_exposition(vllm, "vllm:time_to_first_token_seconds");
  EXPECT_THAT(shown(e), testing::ElementsAre("vllm:time_to_first_token_seconds_bucket|le=0.001|model_name=m 0",
                                             "vllm:time_to_first_token_seconds_bucket|le=0.1|model_name=m 7",
                                             "vllm:time_to_first_token_seconds_bucket|le=+Inf|model_name=m 9",
                                             "vllm:time_to_first_token_seconds_count|model_name=m 9",
                                             "vllm:time_to_first_token_seconds_sum|model_name=m 0.8125"));
}

TEST(exposition_test, keeps_only_names_with_the_prefix) {
  EXPECT_EQ(parse_exposition(vllm, "vllm:").samples.size(), 9u);
  EXPECT_EQ(parse_exposition(vllm, "python_").samples.size(), 1u);
  EXPECT_EQ(parse_exposition(vllm, "vllm:kv_cache_usage_perc_and_more").samples.size(), 0u);
  // What is not wanted is still checked.
  EXPECT_EQ(parse_exposition("other{a=\"1} 2\n", "vllm:").bad_lines, 1u);
}

TEST(exposition_test, undoes_the_escapes_of_label_values) {
  const auto e = parse_exposition(
      "m{quote=\"say \\\"hi\\\"\",slash=\"C:\\\\dir\",line=\"one\\ntwo\",other=\"\\d\",empty=\"\",odd=\"}{,=# "
      "7\",utf8=\"\xC3\xA4\"} 1\n");
  ASSERT_EQ(e.samples.size(), 1u) << e.first_bad;
  const auto& s = e.samples[0];
  EXPECT_EQ(s.label_value("quote"), "say \"hi\"");
  EXPECT_EQ(s.label_value("slash"), "C:\\dir");
  EXPECT_EQ(s.label_value("line"), "one\ntwo");
  EXPECT_EQ(s.label_value("other"), "\\d");
  EXPECT_EQ(s.label_value("odd"), "}{,=# 7");
  EXPECT_EQ(s.label_value("utf8"), "\xC3\xA4");
  EXPECT_EQ(s.labels.size(), 7u);
}

TEST(exposition_test, takes_every_number_of_the_format) {
  const auto e = parse_exposition("a NaN\nb +Inf\nc -Inf\nd 1e3\ne -2.5\nf .5\ng 1e400\nh 1e-400\ni 9007199254740993\n");
  ASSERT_EQ(e.samples.size(), 9u) << e.first_bad;
  EXPECT_TRUE(std::isnan(e.samples[0].value));
  std::vector<double> rest;
  for (std::size_t i = 1; i < e.samples.size(); ++i) rest.push_back(e.samples[i].value);
  EXPECT_THAT(rest, testing::ElementsAre(inf, -inf, 1000.0, -2.5, 0.5, inf, 0.0, 9007199254740992.0));
}

TEST(exposition_test, passes_over_timestamps_exemplars_and_comments) {
  const auto e = parse_exposition(
      "# just words\n#\n\n   \na 1 1700000000000\nb{x=\"1\"} 2 -5\nc 3 1.7e9\n"
      "d_bucket{le=\"1\"} 4 # {trace_id=\"abc\"} 0.67 1520879607.789\ne 5 1520879607.789 # {t=\"x\"} 1\n# EOF\n");
  EXPECT_EQ(e.bad_lines, 0u) << e.first_bad;
  EXPECT_THAT(shown(e), testing::ElementsAre("a 1", "b|x=1 2", "c 3", "d_bucket|le=1 4", "e 5"));
}

TEST(exposition_test, is_not_particular_about_blanks_and_line_ends) {
  const auto expected = testing::ElementsAre("a 1", "b|x=1|y=2 2", "c 3", "d 4");
  EXPECT_THAT(shown(parse_exposition("a 1\r\nb{x=\"1\",y=\"2\"} 2\r\n\r\n# c\r\nc{} 3\r\nd 4\r\n")), expected);
  EXPECT_THAT(shown(parse_exposition("  a\t 1 \n\tb { x = \"1\" , y=\"2\" , }  2\t\nc{}3\nd 4")), expected);
  EXPECT_EQ(parse_exposition("").samples.size(), 0u);
  EXPECT_EQ(parse_exposition("\r\n\n").bad_lines, 0u);
}

TEST(exposition_test, a_broken_line_is_named_by_its_number_and_costs_nothing_else) {
  const std::pair<const char*, const char*> broken[] = {
      {"1abc 2", "no metric name"},
      {"{x=\"1\"} 2", "no metric name"},
      {"a-b 2", "a metric name with a character that does not belong there"},
      {"a", "no value"},
      {"a{x=\"1\"}", "no value"},
      {"a{x=\"1\"", "labels do not end"},
      {"a{", "labels do not end"},
      {"a{x=\"1} 2", "a label value does not end"},
      {"a{x=\"1\\", "a label value does not end"},
      {"a{x=1} 2", "a label value without quotes"},
      {"a{x} 2", "a label without name or value"},
      {"a{=\"1\"} 2", "a label without name or value"},
      {"a{,} 2", "a label without name or value"},
      {"a{x=\"1\",,y=\"2\"} 2", "a label without name or value"},
      {"a{x=\"1\" y=\"2\"} 2", "labels without a comma between them"},
      {"a{x=\"1\"y=\"2\"} 2", "labels without a comma between them"},
      {"a two", "the value is not a number"},
      {"a 0x10", "the value is not a number"},
      {"a 1,5", "the value is not a number"},
      {"a 1 now", "what follows the value is not a timestamp"},
      {"a 1 2 3", "something follows the timestamp"},
  };
  for (const auto& [line, why] : broken) {
    const auto text = fmt::format("# first\nbefore 1\n{}\nafter 2\n{}\n", line, line);
    const auto e = parse_exposition(text);
    EXPECT_EQ(e.bad_lines, 2u) << line;
    EXPECT_EQ(e.first_bad, fmt::format("line 3: {}", why)) << line;
    EXPECT_THAT(shown(e), testing::ElementsAre("before 1", "after 2")) << line;
  }
}

TEST(exposition_test, text_cut_anywhere_loses_only_the_last_line) {
  for (std::size_t cut = 0; cut <= vllm.size(); ++cut) {
    const auto part = vllm.substr(0, cut);
    const auto e = parse_exposition(part);
    const auto whole = parse_exposition(part.substr(0, part.rfind('\n') + 1));
    ASSERT_LE(e.bad_lines, 1u) << cut;
    ASSERT_GE(e.samples.size(), whole.samples.size()) << cut;
    ASSERT_LE(e.samples.size() + e.bad_lines, whole.samples.size() + 1) << cut;
    for (std::size_t i = 0; i < whole.samples.size(); ++i) ASSERT_EQ(shown(e.samples[i]), shown(whole.samples[i])) << cut;
  }
}

TEST(exposition_test, has_no_limit_on_lines_labels_or_their_length) {
  const std::string text = fmt::format("long{{v=\"{}\"}} 1\n", std::string(1u << 20, 'v')) + "many{";
  std::string many = text;
  for (int i = 0; i < 1000; ++i) many += fmt::format("l{}=\"{}\",", i, i);
  many += "} 2\n";
  for (int i = 0; i < 20000; ++i) many += fmt::format("n{{i=\"{}\"}} {}\n", i, i);
  const auto e = parse_exposition(many);
  EXPECT_EQ(e.bad_lines, 0u) << e.first_bad;
  ASSERT_EQ(e.samples.size(), 20002u);
  EXPECT_EQ(e.samples[0].label_value("v").size(), 1u << 20);
  EXPECT_EQ(e.samples[1].label_value("l999"), "999");
  EXPECT_EQ(e.samples.back().value, 19999.0);
}

TEST(exposition_test, bytes_that_are_no_text_are_bad_lines_at_most) {
  std::string noise;
  std::uint32_t state = 1;
  for (int i = 0; i < 200000; ++i) {
    state = state * 1664525u + 1013904223u;
    // The characters that mean something come often.
    constexpr std::string_view special = "{}\"\\=,# \n\r\tae01.+-";
    noise += state >> 31 ? special[(state >> 8) % special.size()] : static_cast<char>(state >> 16);
  }
  const auto e = parse_exposition(noise);
  EXPECT_GT(e.bad_lines, 100u);
  for (const auto& s : e.samples) {
    ASSERT_GE(s.name.data(), noise.data());
    ASSERT_LE(s.name.data() + s.name.size(), noise.data() + noise.size());
  }
}

TEST(parse_number_test, reads_decimal_numbers_only) {
  EXPECT_EQ(parse_number("0"), 0.0);
  EXPECT_EQ(parse_number("+1.50"), 1.5);
  EXPECT_EQ(parse_number("-1E-3"), -0.001);
  EXPECT_EQ(parse_number("5."), 5.0);
  EXPECT_EQ(parse_number("inf"), inf);
  EXPECT_EQ(parse_number("+INFINITY"), inf);
  EXPECT_EQ(parse_number("-inf"), -inf);
  EXPECT_TRUE(std::signbit(*parse_number("-0")));
  EXPECT_TRUE(std::isnan(parse_number("nan").value()));
  for (const char* no :
       {"", "+", "-", ".", "e5", "--1", "+-1", "1 ", " 1", "1e", "1x", "0x1p3", "nan(1)", "-nan", "infin", "1_000"})
    EXPECT_FALSE(parse_number(no)) << no;
}

}  // namespace
}  // namespace inferno::net::metrics
