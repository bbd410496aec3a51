#pragma once
// The machine's Prometheus, scraping the pods that run.
#include <fmt/format.h>

#include <atomic>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "net/http/server.hpp"
#include "testbed/vllm/vllm_runtime.hpp"
#include "tests/support/process.hpp"
#include "tests/support/wait.hpp"

namespace inferno::test {

struct prometheus_options {
  std::string more{};                     ///< further entries of scrape_configs
  std::vector<std::string> jobs{"vllm"};  ///< that scrape the pods
  std::string web_config{};               ///< text of --web.config.file, for TLS; "" = plain
  net::tls_options tls{};                 ///< how the test reaches it then
};

/// Debian's Prometheus is built without Kubernetes service discovery, so it asks a URL for its targets instead, with the labels a
/// ServiceMonitor's would have.
class prometheus {
 public:
  prometheus(asio::any_io_executor executor, std::shared_ptr<testbed::vllm_runtime> servers, const temp_folder& folder,
             prometheus_options options = {})
      : tls_(std::move(options.tls)) {
    namespace json = boost::json;
    net::http_server_config config;
    auto started =
        net::http_server::start(executor, config, [servers, fed = fed_](net::http_exchange& x) -> asio::awaitable<void> {
          json::array groups;
          for (const auto& s : *fed&& servers ? servers->servers() : std::vector<testbed::vllm_runtime::running_server>{}) {
            json::object labels{{"namespace", s.ns}, {"pod", s.pod}};
            json::array targets;
            targets.push_back(json::value(s.url.substr(7)));
            groups.push_back(json::object{{"targets", std::move(targets)}, {"labels", std::move(labels)}});
          }
          std::string body = json::serialize(groups), type = "application/json";
          std::vector<net::http_header> none;
          co_await x.respond(200, std::move(type), std::move(body), std::move(none));
        });
    if (!started) throw std::runtime_error(started.error().message);
    discovery_ = std::move(*started);
    const auto file = folder.file("prometheus.yml");
    std::string jobs;
    for (const auto& job : options.jobs)
      jobs += fmt::format("- job_name: {}\n  http_sd_configs: [{{url: \"http://{}/targets\", refresh_interval: 1s}}]\n", job,
                          discovery_->address());
    std::ofstream(file) << fmt::format("global: {{scrape_interval: 1s}}\nscrape_configs:\n{}{}", jobs, options.more);
    args_ = {"--config.file=" + file, "--storage.tsdb.path=" + folder.file("tsdb"), "--log.level=warn"};
    if (!options.web_config.empty()) {
      std::ofstream(folder.file("web.yml")) << options.web_config;
      args_.push_back("--web.config.file=" + folder.file("web.yml"));
    }
    log_ = folder.file("prometheus.log");
    // Prometheus does not tell which port 0 became: a free one is looked for, and another if it was taken meanwhile.
    for (int attempt = 0; attempt < 5; ++attempt) {
      url = fmt::format("{}://127.0.0.1:{}", options.web_config.empty() ? "http" : "https", free_port());
      if (start()) return;
    }
    throw std::runtime_error("Prometheus does not start: " + process->output());
  }

  /// Starts it, again on the same address after process.reset(). Whether it is ready.
  bool start() {
    auto args = args_;
    args.push_back("--web.listen-address=" + url.substr(url.find("//") + 2));
    process = std::make_unique<child>("prometheus", args, log_);
    return eventually(20s,
                      [&] {
                        const auto answer = get("/-/ready");
                        return (answer && answer->status == 200) || process->wait(0ms);
                      }) &&
           !process->wait(0ms);
  }
  /// Whether it hears of any pods to scrape.
  void feed(bool on) { *fed_ = on; }
  net::result<net::http_response> get(const std::string& path) const {
    net::http_request request;
    request.url = url + path;
    return http_send(std::move(request), tls_);
  }

  std::string url;
  std::unique_ptr<child> process;

 private:
  std::shared_ptr<std::atomic<bool>> fed_ = std::make_shared<std::atomic<bool>>(true);
  net::tls_options tls_;
  std::unique_ptr<net::http_server> discovery_;
  std::vector<std::string> args_;
  std::string log_;
};

}  // namespace inferno::test
