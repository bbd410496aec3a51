#include "net/http/gzip.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <new>

namespace inferno::net {

namespace {
constexpr std::size_t piece = 16u << 10;
}

void gzip_inflater::closer::operator()(z_stream_s* stream) const {
  ::inflateEnd(stream);
  delete stream;
}

gzip_inflater::gzip_inflater(std::size_t max_text) : max_text_(max_text) {
  auto stream = std::make_unique<z_stream_s>();
  // 16: gzip and nothing else.
  if (::inflateInit2(stream.get(), 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  stream_.reset(stream.release());
}

result<void> gzip_inflater::feed(std::string_view bytes, std::string& text) {
  while (!bytes.empty()) {
    // zlib counts in unsigned int.
    const auto part = bytes.substr(0, std::size_t(1) << 30);
    stream_->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data()));
    stream_->avail_in = static_cast<uInt>(part.size());
    bool more = true;
    while (more) {
      if (!inside_) {
        // Another member follows the one that has ended.
        if (stream_->avail_in == 0) break;
        ::inflateReset(stream_.get());
        inside_ = true;
      }
      // One byte of room beyond the limit tells a text that ends there from one that goes on.
      const auto room = std::min(piece - 1, max_text_ - given_) + 1;
      const auto before = text.size();
      text.resize(before + room);
      stream_->next_out = reinterpret_cast<Bytef*>(text.data() + before);
      stream_->avail_out = static_cast<uInt>(room);
      const int outcome = ::inflate(stream_.get(), Z_SYNC_FLUSH);
      auto made = room - stream_->avail_out;
      const bool full = stream_->avail_out == 0;
      const bool too_much = made > max_text_ - given_;
      if (too_much) --made;
      text.resize(before + made);
      given_ += made;
      if (too_much) return fail(error_kind::too_large, fmt::format("the inflated text is larger than {} bytes", max_text_));
      if (outcome == Z_MEM_ERROR) throw std::bad_alloc();
      if (outcome == Z_STREAM_END) {
        inside_ = false;
      } else if (outcome != Z_OK && outcome != Z_BUF_ERROR) {
        return fail(error_kind::protocol, fmt::format("damaged gzip: {}", stream_->msg ? stream_->msg : "zlib gives no reason"));
      }
      // With room left all that came has been used; what is to come of it waits for more.
      more = full || stream_->avail_in > 0;
    }
    bytes.remove_prefix(part.size());
  }
  return {};
}

result<void> gzip_inflater::finish() const {
  if (inside_) return fail(error_kind::protocol, "the gzip is cut short");
  return {};
}

}  // namespace inferno::net
