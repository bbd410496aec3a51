// `inferno get`, `explain`, `version` and `completion` as their users run them.
#include <gmock/gmock.h>

#include "tests/integration/rig.hpp"

namespace inferno::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

outcome inferno(std::vector<std::string> args, const std::string& input = {}) {
  return run_program(INFERNO_BIN, std::move(args), input);
}

/// The line that begins with these words, its columns apart by one space.
std::string line_of(const std::string& text, const std::string& first) {
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string out;
    for (std::string w; words >> w;) out += (out.empty() ? "" : " ") + w;
    if (out.starts_with(first)) return out;
  }
  return {};
}

TEST(GetCli, ShowsTheFleetOfARunningController) {
  rig r({.manifests = {settings("1s", "10s", "2s"), testbed::sample_deployment(40), testbed::embedded::sample_variant}});
  r.start_controller({"--metrics-source", "scrape", "--scrape-interval", "200ms"});
  if (HasFatalFailure()) return;
  ASSERT_TRUE(eventually(10s, [&] { return r.condition("OptimizationReady").rfind("True", 0) == 0; })) << r.controller->output();

  const auto all = inferno({"get", "--url", r.metrics_url + "/"});
  EXPECT_EQ(all.exit_code, 0) << all.err;
  EXPECT_THAT(all.err, IsEmpty());
  EXPECT_THAT(line_of(all.out, "NAMESPACE"),
              StartsWith("NAMESPACE NAME MODEL CLASS ACCELERATOR REASON REPLICAS READY DESIRED CENTS/H"));
  EXPECT_THAT(line_of(all.out, "llm-d-sim"),
              StartsWith("llm-d-sim vllme-deployment default Premium A100 Optimized 1 1 1 40.00 0.0 - 21.0 24.0"));
  EXPECT_THAT(all.out, HasSubstr("1 variants, 40.00 cents/h; cycle "));

  EXPECT_EQ(inferno({"get", "--url", r.metrics_url, "-n", "elsewhere"}).out, "no variants in namespace elsewhere\n");
  const auto ours = inferno({"get", "--url", r.metrics_url, "-n", "llm-d-sim", "-o", "json"});
  EXPECT_EQ(json::parse(ours.out).at_pointer("/variants/0/name"), "vllme-deployment") << ours.err;
  const auto one = inferno({"get", "llm-d-sim/vllme-deployment", "--url", r.metrics_url, "-o", "yaml"});
  EXPECT_THAT(one.out, HasSubstr("\"accelerator\": \"A100\"")) << one.err;
  const auto row = inferno({"get", "llm-d-sim/vllme-deployment", "--url", r.metrics_url});
  EXPECT_THAT(line_of(row.out, "llm-d-sim"), HasSubstr("Optimized 1 1")) << row.err;

  const auto why = inferno({"explain", "llm-d-sim/vllme-deployment", "--url", r.metrics_url});
  EXPECT_EQ(why.exit_code, 0) << why.err;
  EXPECT_THAT(why.out, AllOf(HasSubstr("CANDIDATE"), HasSubstr("desired  1 x A100: Optimized"), HasSubstr("targets -10 %")));
  const auto parsed = inferno({"explain", "llm-d-sim/vllme-deployment", "--url", r.metrics_url, "-o", "json"});
  EXPECT_EQ(json::parse(parsed.out).at("variant"), "llm-d-sim/vllme-deployment") << parsed.err;

  const auto nobody = inferno({"explain", "llm-d-sim/nobody", "--url", r.metrics_url});
  EXPECT_EQ(nobody.exit_code, 1);
  EXPECT_EQ(nobody.err, fmt::format("inferno explain: --url {}: 404: no such variant in the last plan\n", r.metrics_url));
  EXPECT_THAT(nobody.out, IsEmpty());
  EXPECT_EQ(http_get(r.metrics_url + "/api/v1/variants?output=xml")->status, 400);
  EXPECT_EQ(http_get(r.metrics_url + "/api/v1/variantsandmore")->status, 404);
}

/// The rows of a variant, in order.
std::vector<std::string> rows_of(const std::string& text, const std::string& name) {
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string line; std::getline(in, line);)
    if (line.find(" " + name + " ") != std::string::npos) out.push_back(line);
  return out;
}

TEST(GetCli, WatchesWhatChangesAndOutlivesTheController) {
  rig r({.manifests = {settings("1s", "10s", "2s"), testbed::sample_deployment(40), testbed::embedded::sample_variant}});
  const std::vector<std::string> scrape{"--metrics-source", "scrape", "--scrape-interval", "200ms"};
  r.start_controller(scrape);
  if (HasFatalFailure()) return;
  ASSERT_TRUE(eventually(10s, [&] { return r.condition("OptimizationReady").rfind("True", 0) == 0; })) << r.controller->output();
  child watch(INFERNO_BIN, {"get", "--watch", "--url", r.metrics_url}, r.folder.file("watch.out"));
  ASSERT_TRUE(eventually(10s, [&] { return !rows_of(watch.output(), "vllme-deployment").empty(); })) << watch.output();
  EXPECT_THAT(watch.output(), StartsWith("NAMESPACE"));
  EXPECT_THAT(watch.output(), ::testing::Not(HasSubstr(" variants, "))) << "the sum of the table would come again and again";
  // Another variant is a row of its own.
  auto second = std::string(testbed::embedded::sample_variant);
  second.replace(second.find("name: vllme-deployment"), 22, "name: second");
  r.apply(second);
  ASSERT_TRUE(eventually(10s, [&] { return !rows_of(watch.output(), "second").empty(); })) << watch.output();
  ASSERT_EQ(r.kubectl({"delete", "va", "second", "-n", "llm-d-sim"}).exit_code, 0);
  ASSERT_TRUE(eventually(10s, [&] { return watch.output().find("(deleted)") != std::string::npos; })) << watch.output();
  // The controller goes and comes back at the same address.
  r.controller->signal(SIGTERM);
  ASSERT_TRUE(r.controller->wait(10s));
  ASSERT_TRUE(eventually(10s, [&] { return watch.output().find("; trying again") != std::string::npos; })) << watch.output();
  std::filesystem::remove(r.folder.file("controller.log"));
  r.start_controller(scrape, r.metrics_url.substr(7));
  if (HasFatalFailure()) return;
  ASSERT_TRUE(eventually(10s, [&] { return watch.output().find("the controller answers again") != std::string::npos; }))
      << watch.output();
  const auto rows = rows_of(watch.output(), "vllme-deployment");
  EXPECT_EQ(std::adjacent_find(rows.begin(), rows.end()), rows.end()) << "a row that has not changed\n" << watch.output();
  watch.signal(SIGINT);
  EXPECT_EQ(watch.wait(5s), -SIGINT) << "a shell shows 130, as after kubectl get --watch";
}

TEST(GetCli, NamesWhatIsWrong) {
  struct wrong {
    std::vector<std::string> args;
    int code;
    std::string part;
  };
  temp_folder folder;
  std::ofstream(folder.file("one")) << "token\n";
  std::ofstream(folder.file("two")) << "one two\n";
  std::ofstream(folder.file("none")) << "\n";
  for (const auto& w :
       {wrong{{"get", "vllme"}, 2, "expected NAMESPACE/NAME, got \"vllme\""},
        wrong{{"get", "a/b/c"}, 2, "expected NAMESPACE/NAME, got \"a/b/c\""},
        wrong{{"explain", "a/../b?"}, 2, "expected NAMESPACE/NAME"},
        wrong{{"get", "a/b", "-n", "c"}, 2, "--namespace: a/b has one already"},
        wrong{{"get", "-n", "a b"}, 2, "--namespace: not a namespace: \"a b\""}, wrong{{"get", "-o", "xml"}, 2, "--output"},
        wrong{{"get", "-w", "-o", "json"}, 2, "--watch: only as a table, not as json"},
        wrong{{"get", "-w", "--token-file", "-"}, 2, "--watch: standard input can be read only once"},
        wrong{{"explain"}, 2, "variant is required"}, wrong{{"get", "--url", "nonsense"}, 1, "--url nonsense: "},
        wrong{{"get", "--url", "http://127.0.0.1:1"}, 1, "--url http://127.0.0.1:1: cannot connect"},
        wrong{{"get", "--url", "http://127.0.0.1:65537"}, 1, "has a port outside 1 to 65535"},
        wrong{{"get", "--url", "http://192.0.2.1:8080", "--token-file", folder.file("one")},
              1,
              "--token-file: --url http://192.0.2.1:8080 is not https"},
        wrong{{"get", "--url", "http://127.0.0.1:1", "--token-file", folder.file("one")}, 1, "cannot connect"},
        wrong{{"get", "--token-file", "/nowhere"}, 1, "--token-file: /nowhere: cannot be opened"},
        wrong{{"get", "--token-file", folder.file("two")}, 1, "more than one word"},
        wrong{{"get", "--token-file", folder.file("none")}, 1, "no token in it"}}) {
    const auto done = inferno(w.args);
    EXPECT_EQ(done.exit_code, w.code) << w.part;
    EXPECT_THAT(done.err, HasSubstr(w.part));
    EXPECT_THAT(done.out, IsEmpty());
  }
}

TEST(VersionCli, NamesTheVersionAndWhatItIsBuiltWith) {
  const auto text = inferno({"version"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, AllOf(StartsWith("inferno 0."), HasSubstr("\ncommit "), HasSubstr("\nopenssl ")));
  const auto parsed = json::parse(inferno({"version", "-o", "json"}).out);
  EXPECT_EQ("inferno " + std::string(parsed.at("version").as_string()) + "\n", inferno({"--version"}).out);
}

TEST(CompletionCli, Bash) {
  temp_folder folder;
  std::ofstream(folder.file("completion")) << inferno({"completion", "bash"}).out;
  const auto complete = [&](const std::string& words, int at) {
    return run_program("bash",
                       {"-euc", fmt::format("source {}; COMP_WORDS=({}); COMP_CWORD={}; _inferno; echo \"${{COMPREPLY[*]}}\"",
                                            folder.file("completion"), words, at)});
  };
  EXPECT_EQ(complete("inferno expl", 1).out, "explain\n") << complete("inferno expl", 1).err;
  EXPECT_EQ(complete("inferno get -o ''", 3).out, "table json yaml\n");
  EXPECT_EQ(complete("inferno controller --leader-elect-r", 2).out,
            "--leader-elect-renew-deadline --leader-elect-retry-period\n");
  EXPECT_EQ(complete("inferno solve --solver ''", 3).out, "auto exact greedy\n");
  EXPECT_EQ(complete("inferno completion ''", 2).out, "bash zsh fish -h --help\n");
}

TEST(CompletionCli, Zsh) {
  temp_folder folder;
  std::ofstream(folder.file("_inferno")) << inferno({"completion", "zsh"}).out;
  // A terminal's zsh completes; without one there is its own check of the syntax, and that compinit takes it.
  const auto loaded =
      run_program("zsh", {"-fec", fmt::format("autoload -U compinit; compinit -D -u; source {}; print ${{_comps[inferno]}}",
                                              folder.file("_inferno"))});
  EXPECT_EQ(loaded.out, "_inferno\n") << loaded.err;
  EXPECT_THAT(loaded.err, IsEmpty());
}

TEST(CompletionCli, Fish) {
  temp_folder folder;
  std::ofstream(folder.file("completion")) << inferno({"completion", "fish"}).out;
  const auto complete = [&](const std::string& line) {
    return run_program("env", {"HOME=" + folder.file("home"), "fish", "--no-config", "-c",
                               fmt::format("source {}; complete -C '{}'", folder.file("completion"), line)});
  };
  EXPECT_THAT(complete("inferno expl").out, StartsWith("explain\t")) << complete("inferno expl").err;
  EXPECT_THAT(complete("inferno get -o ").out, AllOf(HasSubstr("table\t"), HasSubstr("json\t"), HasSubstr("yaml\t")));
  EXPECT_THAT(complete("inferno get --tok").out, StartsWith("--token-file\t"));
  EXPECT_THAT(complete("inferno solve --solver ").out, AllOf(HasSubstr("auto"), HasSubstr("greedy")));
}

}  // namespace
}  // namespace inferno::test
