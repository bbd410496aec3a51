// The sizing kernel asks for no memory: thousands of sizings a cycle must not meet in the allocator.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "model/queue.hpp"

namespace {
thread_local std::size_t allocations = 0;

void* counted(std::size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes)) return p;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes); }
void* operator new[](std::size_t bytes) { return counted(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t& how) noexcept { return operator new(bytes, how); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }

namespace inferno::model {
namespace {

template <class Work>
std::size_t allocations_of(Work work) {
  const auto before = allocations;
  work();
  return allocations - before;
}

TEST(NoAllocation, TheCounterCounts) {
  EXPECT_EQ(allocations_of([] { ::operator delete(::operator new(1)); }), 1u);
}

TEST(NoAllocation, SizingAnalysisPercentilesAndSearch) {
  const slo_targets mean{30, 500, 0, 0}, p95{30, 500, 0, 0, 95}, wait{30, 0, 500, 0};
  for (const performance_profile& profile : {performance_profile(linear_profile{7, 0.05, 5, 0.001, true}),
                                             performance_profile(iteration_profile{4, 0.017, 0.000167, 8192})})
    for (const int batch : {1, 8, 256, 4096}) {
      const replica_config r{profile, {512, 256, 0.7}, batch, 10L * batch};
      for (const auto& slo : {mean, p95, wait}) EXPECT_EQ(allocations_of([&] { (void)size_replica(r, slo); }), 0u) << batch;
      EXPECT_EQ(allocations_of([&] { (void)analyze(r, req_rate::per_sec(1)); }), 0u) << batch;
      EXPECT_EQ(allocations_of([&] { (void)ttft_percentiles_at(r, req_rate::per_sec(1)); }), 0u) << batch;
      EXPECT_EQ(allocations_of([&] { (void)best_batch(r, mean, 10); }), 0u) << batch;
    }
}

}  // namespace
}  // namespace inferno::model
