// Package enginetest steps an engine.Loop by hand, for tests of what runs on one.
//
// It has a fake clock, conns over socket pairs whose other end the test holds, and short
// reads and writes on demand. It does not replace the kernel: events come from a real
// epoll, so a lost edge shows as a test that waits in vain. Not for production code.
//
//	tl := enginetest.NewLoop(t)
//	rec := enginetest.NewRecorder()
//	c, peer := tl.Pair(rec)
//	peer.Write("hello")
//	tl.Settle()
//	rec.Want(t, `data "hello"`)
//	tl.Advance(time.Second) // fires what is due
package enginetest
