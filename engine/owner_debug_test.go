//go:build debug

package engine

import "testing"

func TestDebugOwner(t *testing.T) {
	t.Parallel()
	l, err := NewLoop(0, DefaultLoopConfig())
	if err != nil {
		t.Fatal(err)
	}
	started, done := make(chan struct{}), make(chan error)
	l.Post(func() { close(started) })
	go func() { done <- l.Run() }()
	<-started
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Later from another thread did not panic")
			}
		}()
		l.Later(nil)
	}()
	l.Stop()
	<-done
}
