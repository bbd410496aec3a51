#pragma once

namespace inferno::net {

/// Raises the soft limit of open files (1,024 by default, each connection is one) to the hard limit, as Go's runtime does for its
/// programs. Returns the limit that holds now. What cannot be raised stays as it is.
unsigned long raise_open_file_limit();

}  // namespace inferno::net
