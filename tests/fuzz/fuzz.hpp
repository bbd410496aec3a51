#pragma once
// What takes bytes from outside, as functions of bytes. libFuzzer calls them with whatever it comes up with, the unit tests with
// the corpus. A broken promise aborts.
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace inferno::fuzz {

struct target {
  std::string_view name;
  void (*run)(std::string_view data);
};
const std::vector<target>& targets();

void watch_decoder(std::string_view data);
void exposition(std::string_view data);
void kube_objects(std::string_view data);
void config_maps(std::string_view data);
void system_json(std::string_view data);
void kubeconfig(std::string_view data);
void http_routes(std::string_view data);
void prometheus_answer(std::string_view data);

inline void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", promise);
  std::abort();
}

}  // namespace inferno::fuzz
