package pool

import (
	"testing"
	"time"

	"millrace/codec"
	"millrace/codec/h2"
)

// FuzzHostFrames: whatever a host sends, in whatever pieces, each exchange ends once, and nothing is left counted.
func FuzzHostFrames(f *testing.F) {
	settings := frame(4, 0, 0, nil)
	head := frame(1, 4, 1, block(":status= 200"))
	for _, in := range [][]byte{
		append(append([]byte{}, settings...), append(head, frame(0, 1, 1, []byte("body"))...)...),
		append(append([]byte{}, settings...), append(head, frame(1, 5, 1, block("grpc-status= 0"))...)...),
		append(append([]byte{}, settings...), frame(7, 0, 0, []byte{0, 0, 0, 1, 0, 0, 0, 0})...),
		append(append([]byte{}, settings...), frame(3, 0, 3, []byte{0, 0, 0, byte(h2.RefusedStream)})...),
		append(append([]byte{}, settings...), frame(8, 0, 0, []byte{0, 1, 0, 0})...),
		append(append([]byte{}, settings...), frame(4, 0, 0, []byte{0, 3, 0, 0, 0, 0})...),
		[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
	} {
		f.Add(in, uint16(len(in)/2), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16, paused bool) {
		if len(in) > 32<<10 {
			return
		}
		w := newWorld(t)
		o := newOrigin(w)
		c := w.set(config(http2(nil), o.addr), nil)
		ends := 0
		owners := make([]*owner, 3)
		for i := range owners {
			a := newOwner()
			owners[i] = a
			a.onReady = func() {
				a.x.SendHead(request(codec.MethodPOST, "/", -1), false)
				a.x.SendData(make([]byte, 70000), i == 0)
				if paused {
					a.x.PauseRead()
				}
			}
			a.onEnd = func() { ends++ }
			a.onReset = a.onEnd
			w.lease(c, a)
		}
		p := o.accept()
		at := int(cut) % (len(in) + 1)
		for _, b := range [][]byte{in[:at], in[at:]} {
			_, _ = p.c.Write(b)
			w.turn(0)
			w.turn(0)
		}
		for _, a := range owners {
			w.do(func() {
				if a.x.Active() && paused {
					a.x.ResumeRead()
				}
			})
		}
		_ = p.c.Close()
		w.settle()
		for _, a := range owners {
			w.do(func() {
				if a.x.Active() || a.x.Pending() { // of a connection that opened since
					a.x.Cancel()
					ends++
				}
			})
		}
		if ends != len(owners) {
			t.Errorf("%d ends of %d exchanges", ends, len(owners))
		}
		w.do(func() { w.table.Remove(0) })
		w.advance(6 * time.Second) // those that were opening meanwhile give up
		w.settle()
		w.wantIdle(c, 0)
	})
}
