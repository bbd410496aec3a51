#pragma once
// What a server that compresses sends.
#include <zlib.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace inferno::test {

/// A gzip stream written piece by piece; each piece can be read as soon as it is there.
class gzip_writer {
 public:
  gzip_writer() {
    if (::deflateInit2(&stream_, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY) != Z_OK) throw std::bad_alloc();
  }
  ~gzip_writer() { ::deflateEnd(&stream_); }
  gzip_writer(const gzip_writer&) = delete;
  gzip_writer& operator=(const gzip_writer&) = delete;

  std::string flushed(std::string_view text) { return put(text, Z_SYNC_FLUSH); }
  std::string ended(std::string_view text = {}) { return put(text, Z_FINISH); }

 private:
  std::string put(std::string_view text, int flush) {
    std::string out;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream_.avail_in = static_cast<uInt>(text.size());
    do {
      const auto before = out.size();
      out.resize(before + 65536);
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + before);
      stream_.avail_out = 65536;
      ::deflate(&stream_, flush);
      out.resize(out.size() - stream_.avail_out);
    } while (stream_.avail_out == 0);
    return out;
  }
  z_stream stream_{};
};

inline std::string gzipped(std::string_view text) { return gzip_writer().ended(text); }

}  // namespace inferno::test
