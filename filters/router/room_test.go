package router_test

import (
	"io"
	"strings"
	"testing"
	"time"
)

// TestClosedWindow: of a response that the client takes nothing of, no more is read than the least there is to read;
// and all of it comes when the client opens its window.
func TestClosedWindow(t *testing.T) {
	t.Parallel()
	const size = 300 << 10
	const setWindow, heldMax = 4, 16 << 10
	e := newEnds(t, false, nil, setWindow, 0)
	e.ask(flagEnd, request2("GET"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.WriteString(e.c, "HTTP/1.1 200 OK\r\nContent-Length: 307200\r\n\r\n"+strings.Repeat("x", size))
	}()
	e.client.until("HEADERS 1")
	for range 20 {
		var leased int64
		e.on(func() { leased = e.loop.Arena().Leased() - e.leased })
		if leased > heldMax {
			t.Fatalf("%d bytes of blocks are held for a stream whose client takes nothing", leased)
		}
		time.Sleep(5 * time.Millisecond) // nothing is to happen
	}
	e.client.frame(frameWindow, 0, 0, u32(size))
	e.client.frame(frameWindow, 0, 1, u32(10))
	e.client.frame(frameWindow, 0, 1, u32(size))
	got := 0
	for got < size {
		text, payload := e.client.next()
		if !strings.HasPrefix(text, "DATA 1") {
			t.Fatalf("%s after %d bytes", text, got)
		}
		got += len(payload)
	}
	<-done
	if got != size {
		t.Errorf("%d bytes, want %d", got, size)
	}
}
