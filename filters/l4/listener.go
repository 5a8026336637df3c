package l4

import (
	"fmt"
	"time"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// A Gate admits the connections of a listener, and hears of their end.
type Gate interface {
	// Admit reports whether the connection may live.
	Admit(io *engine.Conn) bool
	// Left tells that an admitted connection has ended, once. c is nil for those that had none.
	filters.Gate
}

// Options says what a [Listener] does with its connections.
type Options struct {
	// Loop of the listener.
	Loop *engine.Loop
	// Filters are the listener filters in their order.
	Filters []Named
	// Timeout is listener_filters_timeout: how long listener filters may wait for bytes. 0 is no limit.
	Timeout time.Duration
	// ContinueOnTimeout goes on with what was found by then, instead of closing.
	ContinueOnTimeout bool
	// Chains are the filter chains, and Table finds one of them by index. Without a table Chains[0] takes all.
	Chains []*Chain
	Table  *ChainTable
	// Default takes what Table has no chain for. Nil: it is closed.
	Default *Chain
	// HandOff finds the listener on an address: use_original_dst. Connections whose listener filters found out that the
	// client wanted to reach another address go on there. It returns nil if there is none. May be nil.
	HandOff func(local engine.Addr) *Listener
	// Gate admits connections. May be nil. Terminal filters get [ChainGate] of it.
	Gate Gate
	// Stats may be nil.
	Stats *Stats
	// Log is the access log of the listener: one entry for each connection. May be nil.
	Log *accesslog.Logger
}

// Stats counts connections before they have a filter chain: "listener.<address>.".
type Stats struct {
	PreCxTimeout              stats.Counter `stat:"downstream_pre_cx_timeout" help:"connections whose listener filters were not done at listener_filters_timeout"`
	PreCxActive               stats.Gauge   `stat:"downstream_pre_cx_active" help:"connections now in listener filters"`
	NoFilterChainMatch        stats.Counter `stat:"no_filter_chain_match" help:"connections closed because no filter chain takes them"`
	ListenerFilterRemoteClose stats.Counter `stat:"downstream_listener_filter_remote_close" help:"connections ended by the peer before a listener filter had what it needs"`
	ListenerFilterError       stats.Counter `stat:"downstream_listener_filter_error" help:"connections that could not be read any more while listener filters looked at them"`
}

// A Listener is what happens to the connections of one listener on one loop until a terminal filter has them.
type Listener struct {
	opt    Options
	steps  []listenerStep
	direct filters.NetworkTerminal // takes all connections at once; nil where somebody has something to say

	conns  connList // in listener filters
	connID uint64
	input  MatchInput       // scratch
	record accesslog.Record // scratch
}

// listenerStep is one contract of one listener filter.
type listenerStep struct {
	accept filters.AcceptFilter
	peek   filters.PeekFilter
}

// NewListener makes a listener.
func NewListener(o Options) *Listener {
	l := &Listener{}
	l.Set(o)
	return l
}

// Set changes what happens. Connections that are in listener filters finish those that they began with, and
// find their chain among the new ones. Those that have a chain already stay with it.
func (l *Listener) Set(o Options) {
	if o.Stats == nil {
		o.Stats = new(Stats)
	}
	l.opt, l.steps, l.direct = o, listenerSteps(o.Filters), nil
	if len(l.steps) == 0 && o.Table == nil && len(o.Chains) > 0 && o.Chains[0].direct() && !o.Log.Enabled() {
		l.direct = o.Chains[0].terminal
	}
	o.Stats.PreCxActive.Set(int64(l.conns.count))
}

func listenerSteps(fs []Named) (steps []listenerStep) {
	for i := range fs {
		accept, accepts := fs[i].Filter.(filters.AcceptFilter)
		if accepts {
			steps = append(steps, listenerStep{accept: accept})
		}
		peek, peeks := fs[i].Filter.(filters.PeekFilter)
		if peeks {
			steps = append(steps, listenerStep{peek: peek})
		}
		if !accepts && !peeks {
			panic(fmt.Sprintf("BUG: l4: %q is a %T, which is no listener filter", fs[i].Name, fs[i].Filter))
		}
	}
	return steps
}

// OnAccept implements engine.Acceptor.
func (l *Listener) OnAccept(io *engine.Conn) engine.Handler {
	gate := l.opt.Gate
	if gate != nil && !gate.Admit(io) {
		return nil
	}
	if l.direct != nil {
		h := l.direct.Accept(io, nil)
		if h == nil && gate != nil {
			gate.Left(io, nil)
		}
		return h
	}
	return l.newConn(io).start()
}

// newConn makes what is known of a connection.
func (l *Listener) newConn(io *engine.Conn) *conn {
	l.connID++
	c := &conn{l: l, steps: l.steps, gate: l.opt.Gate, id: l.connID<<8 | uint64(l.opt.Loop.Index())}
	c.IO, c.Connection.Chain, c.Start = io, c, l.opt.Loop.Now()
	c.DirectRemote, c.DirectLocal = io.RemoteAddr(), io.LocalAddr()
	io.SetHandler(c) // who hears of the end if a filter panics before OnAccept returns
	return c
}

// Pending returns the number of connections in listener filters. Those further on are their chain's.
func (l *Listener) Pending() int { return l.conns.count }

// Close ends the connections in listener filters.
func (l *Listener) Close() { l.conns.closeAll() }

// find returns the chain of a connection, or nil.
func (l *Listener) find(c *conn) *Chain {
	index := 0
	if l.opt.Table != nil {
		l.input.fill(&c.Connection)
		index = l.opt.Table.Find(&l.input)
	}
	if index >= 0 && index < len(l.opt.Chains) {
		return l.opt.Chains[index]
	}
	return l.opt.Default
}

// log writes the entry of a connection that has ended.
func (l *Listener) log(c *conn) {
	if !l.opt.Log.Enabled() {
		return
	}
	r := &l.record
	filters.DescribeConnection(r, accesslog.TypeNotSet, l.opt.Loop, c.IO, &c.Connection, c.Start)
	r.Cluster, r.ConnID = c.Cluster, c.id
	if c.flags&connNoChain != 0 {
		r.Info.Details = "filter_chain_not_found"
	}
	l.opt.Log.Log(r)
	r.Reset() // it must not keep what the connection had
}

// A ChainGate is the gate that terminal filters of a chain are given, as NetworkEnv.Gate: network filters
// hear of the end of a connection before the listener's gate does.
type ChainGate struct {
	// Gate of the listener. May be nil.
	Gate filters.Gate
}

// Left implements filters.Gate.
func (g ChainGate) Left(io *engine.Conn, c *filters.Connection) {
	if c != nil {
		if own, ok := c.Chain.(*conn); ok {
			own.over()
		}
	}
	if g.Gate != nil {
		g.Gate.Left(io, c)
	}
}
