#pragma once
#include <string>

namespace inferno::testbed {

/// The sample Deployment with answers of this many tokens on average, its port one that no server of this machine has taken on
/// all addresses: pods listen on loopback addresses of their own, but a wildcard listener is in their way. Throws when there is
/// none.
std::string sample_deployment(int output_tokens = 178);

}  // namespace inferno::testbed
