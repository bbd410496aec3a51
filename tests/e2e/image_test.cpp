// The image's file system, as `make rootfs` lays it out: the controller runs on nothing else, with nobody's rights, nothing to
// write to, and what Kubernetes gives a pod.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

const fs::path rootfs = fs::path(REPO_DIR) / "build" / "image" / "rootfs";

/// A program of an image in a sandbox that has the image's files, read-only, as user 65532 without capabilities; `more`: options
/// of bwrap.
std::vector<std::string> sandbox(const fs::path& root, std::vector<std::string> more, std::vector<std::string> command) {
  std::vector<std::string> out{"--unshare-user",    "--uid",      "65532",   "--gid", "65532", "--cap-drop", "ALL",
                               "--die-with-parent", "--clearenv", "--tmpfs", "/"};
  for (const auto& entry : fs::directory_iterator(root))
    if (entry.is_symlink()) {
      out.insert(out.end(), {"--symlink", fs::read_symlink(entry), "/" + entry.path().filename().string()});
    } else {
      out.insert(out.end(), {"--ro-bind", entry.path(), "/" + entry.path().filename().string()});
    }
  out.insert(out.end(), more.begin(), more.end());
  out.insert(out.end(), {"--remount-ro", "/", "--"});
  out.insert(out.end(), command.begin(), command.end());
  return out;
}

/// The process that bwrap waits for.
pid_t inner(pid_t bwrap) {
  std::ifstream in(fmt::format("/proc/{0}/task/{0}/children", bwrap));
  pid_t out = 0;
  in >> out;
  return out;
}

TEST(Image, HasTheProgramAndWhatItLoadsAndNoShell) {
  std::uintmax_t bytes = 0;
  std::vector<std::string> programs;
  for (const auto& entry : fs::recursive_directory_iterator(rootfs / "controller")) {
    if (entry.is_symlink() || !entry.is_regular_file()) continue;
    bytes += entry.file_size();
    struct stat of {};
    ASSERT_EQ(::stat(entry.path().c_str(), &of), 0);
    EXPECT_EQ(of.st_mode & (S_ISUID | S_ISGID), 0u) << entry.path();
    const auto name = entry.path().filename().string();
    if ((of.st_mode & S_IXUSR) && name.find(".so") == std::string::npos) programs.push_back(name);
  }
  EXPECT_EQ(programs, std::vector<std::string>{"inferno"});
  const auto program = fs::file_size(rootfs / "controller" / "usr" / "bin" / "inferno");
  fmt::print("image: {:.1f} MB, of which the program {:.1f}\n", static_cast<double>(bytes) / 1e6,
             static_cast<double>(program) / 1e6);
  RecordProperty("image_mb", fmt::format("{:.1f}", static_cast<double>(bytes) / 1e6));
  EXPECT_LT(bytes, 40'000'000u);

  const auto version = run_program("bwrap", sandbox(rootfs / "controller", {}, {"/usr/bin/inferno", "version"}));
  EXPECT_EQ(version.exit_code, 0) << version.err;
  EXPECT_THAT(version.out, HasSubstr("\ncommit "));
  EXPECT_THAT(version.out, Not(HasSubstr("commit unknown")));
  const auto shell = run_program("bwrap", sandbox(rootfs / "controller", {}, {"/bin/sh", "-c", "true"}));
  EXPECT_NE(shell.exit_code, 0);
  // As the samples start it.
  const auto testbed = run_program("bwrap", sandbox(rootfs / "testbed", {}, {"/usr/bin/inferno-testbed", "vllm", "--help"}));
  EXPECT_EQ(testbed.exit_code, 0) << testbed.err;
}

TEST(Image, ControlsTheClusterAsAPodDoes) {
  scene s;
  s.deployment();
  s.variant({.extra_spec = "  minReplicas: 2\n"});
  // What Kubernetes mounts into a pod.
  const auto account = s.folder.file("serviceaccount");
  fs::create_directory(account);
  std::ofstream(account + "/token") << s.cluster.token(s.system_ns, "inferno-autoscaler-controller-manager");
  std::ofstream(account + "/ca.crt") << s.cluster.ca_pem();
  std::ofstream(account + "/namespace") << s.system_ns;
  for (const auto* file : {"/token", "/ca.crt", "/namespace"}) fs::permissions(account + file, fs::perms(0644));
  const auto& url = s.cluster.url();
  const auto port = url.substr(url.rfind(':') + 1);
  const auto mount = std::string("/var/run/secrets/kubernetes.io/serviceaccount");
  child controller("bwrap",
                   sandbox(rootfs / "controller",
                           {"--ro-bind", account, mount, "--setenv", "KUBERNETES_SERVICE_HOST", "127.0.0.1", "--setenv",
                            "KUBERNETES_SERVICE_PORT", port, "--setenv", "PROMETHEUS_BASE_URL", s.all.metrics->url},
                           {"/usr/bin/inferno", "controller", "--leader-elect", "--metrics-bind-address", "127.0.0.1:0",
                            "--health-probe-bind-address", "127.0.0.1:0"}),
                   s.folder.file("image.log"));
  EXPECT_TRUE(s.settles(2)) << controller.output();
  std::string metrics;
  std::istringstream lines(controller.output());
  for (std::string line; std::getline(lines, line);)
    if (line.find("Controller started") != std::string::npos) metrics = json::parse(line).at("metrics").as_string();
  net::tls_options tls;
  tls.insecure_skip_verify = true;
  net::http_request request;
  request.url = "https://" + metrics + "/metrics";
  const auto answer = http_send(request, tls);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 401) << "TLS, and who asks is asked";

  const auto program = inner(controller.pid());
  ASSERT_GT(program, 0);
  std::ifstream in(fmt::format("/proc/{}/status", program));
  const std::string status(std::istreambuf_iterator<char>(in), {});
  EXPECT_THAT(status, HasSubstr("CapEff:\t0000000000000000"));
  fmt::print("resident: {:.1f} MiB\n", resident_mib(program));
  ASSERT_EQ(::kill(program, SIGTERM), 0);
  EXPECT_EQ(controller.wait(5s), 0) << controller.output();
}

}  // namespace
}  // namespace inferno::test
