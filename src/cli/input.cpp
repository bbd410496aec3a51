#include "cli/input.hpp"

#include <fstream>
#include <iostream>
#include <iterator>

namespace inferno::cli {

std::string input_name(const std::string& file) { return file == "-" ? "standard input" : file; }

tl::expected<std::string, std::string> read_input(const std::string& file) {
  if (file == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::ifstream in(file, std::ios::binary);
  if (!in) return tl::unexpected(std::string("cannot be opened"));
  // The buffer iterator throws what the stream would only note, e.g. for a directory.
  try {
    return std::string(std::istreambuf_iterator<char>(in), {});
  } catch (const std::ios_base::failure&) {
    return tl::unexpected(std::string("cannot be read"));
  }
}

}  // namespace inferno::cli
