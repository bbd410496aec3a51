#include <CLI/CLI.hpp>
#include "testbed/commands.hpp"
namespace inferno::testbed {
void add_demo(CLI::App&) {}
}
