package h2

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/codec/hpack"
)

// TestIdleBytes holds the memory of the codec of an idle connection, with a table that a client has filled. It reads the
// heap of the process, so it runs alone.
func TestIdleBytes(t *testing.T) {
	const (
		count = 400
		table = 16 * (8 + 200 + 32) // as RFC 7541 section 4.1 counts
		most  = table + 2048        // of 4,096 beside the table the rest is the connection's
	)
	fields := post()
	for i := range 16 {
		fields = append(fields, fmt.Sprintf("x-num-%02d: %s", i, strings.Repeat("v", 200)))
	}
	var scratch Scratch
	opt := testOptions()
	servers := make([]*Server, count)
	var response codec.ResponseHead
	var out []byte
	before := heapBytes()
	for i := range servers {
		p := &peer{t: t, server: NewServer(opt, &scratch), enc: hpack.NewEncoder(hpack.TableSizeDefault)}
		p.feed([]byte(Preface))
		p.frame(frameSettings, 0, 0, nil)
		p.headers(wholeHead, 1, fields...)
		response.Reset()
		response.Status = 200
		response.AddString("server", "millrace")
		response.AddString("date", "Sun, 22 Nov 2026 22:00:00 GMT")
		out = p.server.AppendResponseHead(out[:0], 1, &response, true)
		p.take()
		p.server.Trim()
		servers[i] = p.server
		if n := p.server.dec.TableBytes(); n < table {
			t.Fatalf("%d bytes in the table, want %d", n, table)
		}
	}
	each := (heapBytes() - before) / count
	runtime.KeepAlive(servers)
	t.Logf("%d bytes each, %d of them in the table", each, table)
	if each > most {
		t.Errorf("an idle connection has %d bytes, want at most %d", each, most)
	}
	// What the next request finds is as before.
	p := &peer{t: t, server: servers[0], enc: hpack.NewEncoder(hpack.TableSizeDefault)}
	p.frame(frameHeaders, wholeHead, 3, []byte{0x82, 0x86, 0x84, 0x01, 1, 'a', 0xbe})
	if got := p.log.String(); !strings.Contains(got, "x-num-15=vvv") {
		t.Errorf("the newest entry of the table: %.200q", got)
	}
	servers[0].Release()
}

// heapBytes returns the bytes of the heap that are in use.
func heapBytes() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
