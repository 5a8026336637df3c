package sys

import "time"

// base anchors the monotonic clock. Never written after start-up.
var base = time.Now()

// Monotonic returns nanoseconds on a clock that never jumps, counted from shortly before
// the start of the process, so that it is never zero or negative. It is read through the
// vDSO, without a system call.
func Monotonic() int64 { return int64(time.Since(base)) + 1 }

// Wall returns nanoseconds since 1970.
func Wall() int64 { return time.Now().UnixNano() }
