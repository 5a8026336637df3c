package engine_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/engine/enginetest"
)

// A connection that joined the queue between the last accept and the close was reset.
func TestDrainAndCloseLosesNobody(t *testing.T) {
	t.Parallel()
	const rounds, clients = 3, 4
	for range rounds {
		tl := enginetest.NewLoop(t)
		acc := &acceptAll{}
		ls := listen(t, tl, "127.0.0.1:0", acc)
		addr := ls.Addr()
		var all sync.WaitGroup
		var connected atomic.Int64
		for range clients {
			all.Go(func() {
				for {
					c, err := net.DialTimeout("tcp", addr.String(), 3*time.Second)
					if err != nil {
						return // nobody listens any more
					}
					connected.Add(1)
					defer c.Close() // an accepted connection that has gone would still be counted
				}
			})
		}
		tl.Until(func() bool { return len(acc.conns) >= 50 })
		ls.DrainAndClose(20 * time.Millisecond)
		begun := time.Now()
		tl.Until(func() bool { return time.Since(begun) > 20*time.Millisecond }) // handshakes take real time
		tl.Advance(time.Second)
		all.Wait()
		if got, want := int64(len(acc.conns)), connected.Load(); got != want {
			t.Fatalf("%d of %d connections were accepted", got, want)
		}
	}
}
