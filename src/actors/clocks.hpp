#pragma once
// Times that come from outside.

namespace inferno::actors {

/// A time that is so many seconds older than the last one comes from a clock that was set back, and is followed. One that is less
/// far back comes from another replica of the source, and is passed over.
inline constexpr double set_back_s = 120;

}  // namespace inferno::actors
