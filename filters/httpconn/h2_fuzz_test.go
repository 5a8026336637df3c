package httpconn

import (
	"strings"
	"testing"

	"millrace/codec/h2"
	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/filters"
)

// FuzzHTTP2 gives a connection any frames, cut anywhere, with filters that answer, hold or pass on by the path. Whatever comes, nothing
// is left when it is closed.
func FuzzHTTP2(f *testing.F) {
	settings := frame2(frameSettings, 0, 0, "") + frame2(frameSettings, flagAck, 0, "")
	for _, seed := range []string{
		get2(1, "/"),
		get2(1, "/hold") + get2(3, "/reply") + frame2(frameReset, 0, 1, num(8)),
		post2(1, "/hold") + frame2(frameData, 0, 1, "body") + frame2(frameData, flagEnd, 1, ""),
		post2(1, "/reply") + frame2(frameData, 0, 1, "body") + frame2(frameHeaders, flagHeadEnd, 1, block2("x: y")),
		frame2(frameSettings, 0, 0, "\x00\x04\x00\x00\x00\x00") + get2(1, "/reply") + frame2(frameWindow, 0, 1, num(7)) + frame2(frameWindow, 0, 1, num(1<<20)),
		frame2(frameHeaders, flagWhole, 1, block2(webSocket...)) + frame2(frameData, 0, 1, "x"),
		frame2(frameGoAway, 0, 0, num(0)+num(0)) + frame2(framePing, 0, 0, "12345678"),
	} {
		f.Add(settings+seed, uint8(0), false)
		f.Add(settings+seed, uint8(7), true)
		f.Add(settings+seed, uint8(60), false)
	}
	f.Fuzz(func(t *testing.T, frames string, cut uint8, drain bool) {
		w := &world{t: nil, term: &terminal{}}
		tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) {
			c.BlocksMax = 16 << 20
			c.OnPanic = func(v any, stack []byte) { t.Fatalf("panic: %v\n%s", v, stack) }
		})
		cfg := testConfig()
		cfg.HTTP2ProtocolOptions = DefaultHTTP2Config()
		cfg.HTTP2ProtocolOptions.AllowConnect = true
		cfg.Upgrades = []string{"websocket"}
		chain := filters.NewChain(w.term)
		if err := chain.Add("any", byPath{}); err != nil {
			t.Fatal(err)
		}
		m, err := NewManager(cfg, Deps{Loop: tl.Loop, Chain: chain})
		if err != nil {
			t.Fatal(err)
		}
		base := tl.Arena().Leased()
		io, peer := tl.Pair(dummy{})
		io.SetHandler(m.Accept(io, nil))
		frames = h2.Preface + frames
		for step := int(cut); len(frames) > 0; {
			n := len(frames)
			if step > 0 {
				n = min(n, step)
			}
			peer.Write(frames[:n])
			frames = frames[n:]
			tl.Settle()
		}
		if drain {
			m.Drain()
			tl.Settle()
		}
		peer.Close()
		tl.Settle()
		m.Close()
		tl.Settle()
		m.Release()
		st, st2 := m.stats, m.stats2
		if m.Conns() != 0 || st.RqActive.Load() != 0 || st2.StreamsActive.Load() != 0 || st2.PendingSend.Load() != 0 || tl.Arena().Leased() != base {
			t.Errorf("left: %d connections, %d requests, %d streams, %d bytes, %d of blocks",
				m.Conns(), st.RqActive.Load(), st2.StreamsActive.Load(), st2.PendingSend.Load(), tl.Arena().Leased()-base)
		}
	})
}

// dummy is replaced before anything happens.
type dummy struct{ engine.Handler }

// byPath answers /reply with a body, holds /hold, and passes all else on.
type byPath struct{}

func (byPath) OnRequestHead(s *filters.Stream, _ bool) filters.Verdict {
	switch path := string(s.Request.Path()); {
	case strings.HasPrefix(path, "/reply"):
		return s.ReplyWith(filters.LocalReply{Status: 200, Body: strings.Repeat("x", 3000)})
	case strings.HasPrefix(path, "/hold"):
		return filters.Pause
	case strings.HasPrefix(path, "/buffer"):
		return filters.Buffer
	}
	return filters.Continue
}
