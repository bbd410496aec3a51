// What the documents, alerts and the dashboard name is what the code has.
#include <gmock/gmock.h>

#include <regex>
#include <set>

#include "testbed/cluster/json_tools.hpp"
#include "tests/support/process.hpp"

namespace inferno::test {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::IsEmpty;
using names = std::set<std::string>;

std::string text_of(const fs::path& path) {
  std::ifstream in(path);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return std::string(std::istreambuf_iterator<char>(in), {});
}
std::string repository(const std::string& path) { return text_of(fs::path(REPO_DIR) / path); }

/// All first groups of the matches.
names found(const std::string& text, const std::string& pattern) {
  names out;
  const std::regex r(pattern);
  for (std::sregex_iterator it(text.begin(), text.end(), r), end; it != end; ++it) out.insert((*it)[1]);
  return out;
}

/// The controller's sources as one text.
const std::string& sources() {
  static const auto all = [] {
    std::string out;
    for (const auto& f : fs::directory_iterator(fs::path(REPO_DIR) / "src" / "actors")) out += text_of(f.path());
    return out;
  }();
  return all;
}

names without(names from, const names& what) {
  for (const auto& w : what) from.erase(w);
  return from;
}

const std::string& manual() {
  static const auto text = repository("docs/operations.md");
  return text;
}

TEST(Docs, NameEveryFlagAndNoOther) {
  const auto help = run_program(INFERNO_BIN, {"controller", "--help"}).out;
  const auto there = without(found(help, "(--[a-z-]+)"), {"--help", "--no-metrics-secure"});
  EXPECT_GE(there.size(), 20u);
  names any = there;
  for (const auto* command : {"solve", "fit", "get", "explain", "version"})
    any.merge(found(run_program(INFERNO_BIN, {command, "--help"}).out, "(--[a-z-]+)"));
  const auto told = found(manual(), "`(?:inferno [a-z]+ )?(--[a-z-]+)");
  EXPECT_THAT(without(there, told), IsEmpty()) << "flags that docs/operations.md does not have";
  EXPECT_THAT(without(told, any), IsEmpty()) << "flags that there are not";
}

TEST(Docs, NameEveryKeyOfTheSettings) {
  const auto there = found(repository("src/actors/config_maps.cpp"), "\"([A-Z]+(?:_[A-Z]+)*)\"");
  EXPECT_GE(there.size(), 18u);
  names told;
  // The rows of the table; one may have several keys.
  for (const auto& row : found(manual(), "\n(\\| `[A-Z_]+`[^|]*)")) told.merge(found(row, "`([A-Z_]+)`"));
  EXPECT_EQ(told, there);
  EXPECT_EQ(found(repository("deploy/chart/inferno/values.schema.json"), "\n *\"([A-Z]+(?:_[A-Z]+)+|SOLVER)\":"), there)
      << "the chart refuses others";
}

/// A histogram's series, and names in texts that end a sentence.
std::string family(const std::string& series) { return std::regex_replace(series, std::regex("_(bucket|sum|count)$"), ""); }

TEST(Docs, NameEveryMetricAndSoDoAlertsAndDashboard) {
  const auto there =
      found(repository("src/actors/board.cpp") + repository("src/actors/variant_metrics.cpp"), "[\"\\s](inferno_[a-z_]+)[\" ]");
  EXPECT_GE(there.size(), 20u);
  names told;
  for (const auto& row : found(manual(), "\n(\\| `inferno_[^|]*)")) told.merge(found(row, "`(inferno_[a-z_]+)"));
  EXPECT_EQ(told, there);
  for (const auto* file : {"deploy/grafana/inferno.json", "deploy/monitoring/prometheusrule.yaml",
                           "deploy/samples/autoscalers/hpa.yaml", "deploy/samples/autoscalers/scaledobject.yaml"}) {
    const auto used = found(repository(file), "(inferno_[a-z_]+)");
    EXPECT_THAT(used, ::testing::Not(IsEmpty())) << file;
    for (const auto& series : used) EXPECT_THAT(there, Contains(family(series))) << file;
  }
}

TEST(Docs, PrometheusUnderstandsTheDashboardAndTheAlertsFireWhenTheyShould) {
  const auto dashboard = boost::json::parse(repository("deploy/grafana/inferno.json"));
  std::string rules = "groups:\n- name: dashboard\n  rules:\n";
  std::size_t queries = 0;
  for (const auto& panel : dashboard.at("panels").as_array()) {
    const auto* targets = panel.as_object().if_contains("targets");
    if (!targets) continue;
    for (const auto& t : targets->as_array()) {
      const std::string expr(t.at("expr").as_string());
      rules +=
          "  - {record: 'q" + std::to_string(++queries) + "', expr: " + boost::json::serialize(boost::json::string(expr)) + "}\n";
    }
  }
  EXPECT_GE(queries, 20u);
  temp_folder folder;
  std::ofstream(folder.file("dashboard.yaml")) << rules;
  const auto alerts = testbed::parse_manifests(repository("deploy/monitoring/prometheusrule.yaml"));
  ASSERT_TRUE(alerts) << alerts.error();
  std::ofstream(folder.file("alerts.yaml")) << boost::json::serialize(alerts->front().at("spec"));
  const auto checked = run_program("promtool", {"check", "rules", folder.file("dashboard.yaml"), folder.file("alerts.yaml")});
  EXPECT_EQ(checked.exit_code, 0) << checked.out << checked.err;
  // Each alert fires when it should and not when it should not, and is explained.
  auto cases = repository("tests/data/monitoring/alerts_test.yaml");
  cases.replace(cases.find("[RULES]"), 7, "[" + folder.file("alerts.yaml") + "]");
  std::ofstream(folder.file("alerts_test.yaml")) << cases;
  const auto fired = run_program("promtool", {"test", "rules", folder.file("alerts_test.yaml")});
  EXPECT_EQ(fired.exit_code, 0) << fired.out << fired.err;
  for (const auto& alert : found(repository("deploy/monitoring/prometheusrule.yaml"), "alert: ([A-Za-z]+)")) {
    EXPECT_NE(manual().find("`" + alert + "`"), std::string::npos) << alert;
    EXPECT_NE(cases.find(alert), std::string::npos) << alert << ": no case";
  }
}

TEST(Docs, NameEveryConditionReasonAndEvent) {
  // Whatever is CamelCase in the files that decide, but for Kubernetes' own words.
  std::string deciding;
  for (const auto* file : {"analysis", "analyzer", "optimizer", "planning", "actuator", "actuator_change", "accelerator_change",
                           "metrics_watcher", "fleet", "cluster_state"})
    deciding += repository(std::string("src/actors/") + file + ".cpp");
  const auto there = without(found(deciding, "\"([A-Z][a-z]+(?:[A-Z][a-zA-Z]*)+)\""),
                             {"ProgressDeadlineExceeded", "RollingUpdate", "StatefulSet", "VariantAutoscaling"});
  EXPECT_GE(there.size(), 20u);
  const auto told = found(manual(), "([A-Z][a-z]+(?:[A-Z][a-zA-Z]*)*)");
  EXPECT_THAT(without(there, told), IsEmpty());
  // The table's own words are in the code.
  const auto table = manual().substr(manual().find("| condition | reason |"),
                                     manual().find("A scaling is also an Event") - manual().find("| condition | reason |"));
  for (const auto& row : found(table, "\n\\|[^|]*\\|([^|]*)\\|"))
    for (const auto& reason : found(row, "([A-Z][a-zA-Z]+)"))
      EXPECT_NE(sources().find('"' + reason + '"'), std::string::npos) << reason;
}

TEST(Docs, MakeHelpListsEveryTarget) {
  const auto there = found("\n" + repository("Makefile"), "\n([a-z][a-z0-9-]*):[^=]");
  EXPECT_GE(there.size(), 30u);
  const auto help = run_program("make", {"-C", REPO_DIR, "--no-print-directory", "help"});
  EXPECT_EQ(found("\n" + help.out, "\n([a-z][a-z0-9-]*) "), there) << help.err;
}

/// README.md and the pages of docs/, by their path.
std::vector<std::string> pages() {
  std::vector<std::string> out{"README.md"};
  for (const auto& f : fs::directory_iterator(fs::path(REPO_DIR) / "docs"))
    if (f.path().extension() == ".md") out.push_back("docs/" + f.path().filename().string());
  return out;
}

TEST(Docs, WhatPagesNameIsThere) {
  const auto targets = found("\n" + repository("Makefile"), "\n([a-z][a-z0-9-]*):[^=]");
  const auto metrics =
      found(repository("src/actors/board.cpp") + repository("src/actors/variant_metrics.cpp"), "[\"\\s](inferno_[a-z_]+)[\" ]");
  ASSERT_GE(pages().size(), 10u);
  for (const auto& page : pages()) {
    const auto text = repository(page);
    for (const auto& target : found(text, "(?:`|\n|\\$ )make ([a-z][a-z0-9-]*)")) EXPECT_THAT(targets, Contains(target)) << page;
    for (const auto& series : found(text, "(inferno_[a-z_]+[a-z])\\b")) EXPECT_THAT(metrics, Contains(family(series))) << page;
    for (const auto& link : found(text, "\\]\\(([^)#:]+)(?:#[^)]*)?\\)"))
      EXPECT_TRUE(fs::exists((fs::path(REPO_DIR) / page).parent_path() / link)) << page << ": " << link;
    for (const auto& file : found(text, "[\\s`(]((?:deploy|tools|tests|testbed|src)/[A-Za-z0-9_./*-]*[A-Za-z0-9])"))
      // An overlay of the reader's own is not here.
      EXPECT_TRUE(file.find('*') != std::string::npos || file.starts_with("deploy/overlays/mine") ||
                  fs::exists(fs::path(REPO_DIR) / file))
          << page << ": " << file;
  }
}

TEST(Docs, NameEveryLabelAndAnnotation) {
  const auto there = found(sources(), "(inference\\.optimization/[a-zA-Z-]+)");
  EXPECT_GE(there.size(), 5u);
  EXPECT_THAT(without(there, found(manual(), "(inference\\.optimization/[a-zA-Z-]+)")), IsEmpty());
}

}  // namespace
}  // namespace inferno::test
