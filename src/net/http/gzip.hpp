#pragma once
// Inflates gzip as it comes.
#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include "net/error.hpp"

struct z_stream_s;

namespace inferno::net {

/// Takes gzip cut anywhere, one member after the other, and gives all that can be known of the text at once: what the sender has
/// flushed does not wait for more. After an error it is of no more use.
class gzip_inflater {
 public:
  /// `max_text`: what all the text may come to.
  explicit gzip_inflater(std::size_t max_text = std::numeric_limits<std::size_t>::max());
  /// Appends to `text`. Error kinds `protocol` (not gzip, or damaged) and `too_large`, found before more than max_text is
  /// inflated; the text before the error has been appended.
  result<void> feed(std::string_view bytes, std::string& text);
  /// To be asked at the end of the bytes. Error kind `protocol`: the gzip is cut short. No bytes at all are no text.
  result<void> finish() const;

 private:
  struct closer {
    void operator()(z_stream_s* stream) const;
  };
  std::unique_ptr<z_stream_s, closer> stream_;
  std::size_t max_text_;
  std::size_t given_ = 0;
  bool inside_ = false;  ///< a member has begun and not ended
};

}  // namespace inferno::net
