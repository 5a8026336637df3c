package filters

import (
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/filters/accesslog"
)

// TestDescribeConnection: a record of a connection has its times, bytes and addresses, and what filters found out.
func TestDescribeConnection(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := &enginetest.Recorder{}
	io, peer := tl.Pair(rec)
	start := tl.Now()
	peer.Write("hello")
	tl.Settle()
	tl.Advance(40 * time.Millisecond)

	r := accesslog.Record{Protocol: 11}
	DescribeConnection(&r, accesslog.TypeTCPPeriodic, tl.Loop, io, nil, start)
	if r.Type != accesslog.TypeTCPPeriodic || r.RequestBytes != 5 || r.WireReceived != 5 || r.ResponseBytes != 0 || r.Protocol != 0 {
		t.Errorf("record %+v; want 5 bytes of a periodic line, and nothing of the record before", r)
	}
	if d := r.End - r.Start; d < int64(40*time.Millisecond) || r.StartUnix+d != tl.Unix() {
		t.Errorf("%v from %d, now %d; want 40ms up to now", time.Duration(d), r.StartUnix, tl.Unix())
	}

	direct, err := engine.ParseAddr("192.0.2.7:4000")
	if err != nil {
		t.Fatal(err)
	}
	c := &Connection{IO: io, DirectRemote: direct, ServerName: "a.example.com", JA3: "771", ChainName: "main", Flags: accesslog.FlagDurationTimeout, Details: "why"}
	c.SetMetadata("n", "k", "v")
	DescribeConnection(&r, accesslog.TypeTCPConnectionEnd, tl.Loop, io, c, start)
	if r.DirectRemote != direct || r.Remote != io.RemoteAddr() || r.RequestedServerName != "a.example.com" || r.JA3 != "771" ||
		r.FilterChain != "main" || r.Flags != c.Flags || r.ConnectionDetails != "why" || r.Metadata["n"]["k"] != "v" {
		t.Errorf("record %+v; want all that the connection knows", r)
	}
}
