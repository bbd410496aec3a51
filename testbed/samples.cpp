#include "testbed/samples.hpp"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "testbed/cluster/embedded.hpp"

namespace inferno::testbed {
namespace {

int free_port(int first) {
  using boost::asio::ip::tcp;
  boost::asio::io_context context;
  for (int port = first; port < first + 1000; ++port) {
    tcp::acceptor probe(context);
    boost::system::error_code ec;
    probe.open(tcp::v4(), ec);
    if (!ec) probe.bind({boost::asio::ip::make_address_v4("127.255.255.1"), static_cast<unsigned short>(port)}, ec);
    if (!ec) probe.listen(1, ec);
    if (!ec) return port;
  }
  throw std::runtime_error(fmt::format("no free port from {} on", first));
}

void put(std::string& text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  if (at == std::string::npos) throw std::logic_error("the sample Deployment lacks: " + from);
  text.replace(at, from.size(), to);
}

}  // namespace

std::string sample_deployment(int output_tokens) {
  std::string text = embedded::sample_deployment;
  put(text, R"(value: "178")", fmt::format(R"(value: "{}")", output_tokens));
  put(text, "containerPort: 8000", fmt::format("containerPort: {}", free_port(8000)));
  return text;
}

}  // namespace inferno::testbed
