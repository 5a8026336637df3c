package l4

import (
	"fmt"

	"millrace/engine"
	"millrace/filters"
)

// A Named is a filter object with its name in the configuration.
type Named struct {
	Name   string
	Filter any
}

// A Chain is one filter chain on one loop: its network filters, and the terminal filter behind them.
//
// A connection of it is first in the hands of the chain, while a filter pauses or a handshake goes on, then in those
// of the terminal filter.
type Chain struct {
	name     string
	filters  []chainFilter
	reads    []filters.ReadFilter
	writes   []filters.WriteFilter
	terminal filters.NetworkTerminal

	transport func(*filters.Connection) engine.Transport
	adopt     func(engine.Transport)
	conns     connList // not yet with the terminal filter
}

// chainFilter is one network filter by its contracts.
type chainFilter struct {
	onNew         filters.NewConnectionFilter
	onEstablished filters.EstablishedFilter
	onEnd         filters.EndFilter
}

// NewChain makes a chain of network filters in their order. Without a terminal filter it closes its connections
// when the last filter has let them pass, as Envoy does with a chain that has no filters.
func NewChain(name string, fs []Named, terminal filters.NetworkTerminal) (*Chain, error) {
	ch := &Chain{name: name, terminal: terminal}
	for i := range fs {
		f := chainFilter{}
		f.onNew, _ = fs[i].Filter.(filters.NewConnectionFilter)
		f.onEstablished, _ = fs[i].Filter.(filters.EstablishedFilter)
		f.onEnd, _ = fs[i].Filter.(filters.EndFilter)
		r, reads := fs[i].Filter.(filters.ReadFilter)
		if reads {
			ch.reads = append(ch.reads, r)
		}
		w, writes := fs[i].Filter.(filters.WriteFilter)
		if writes {
			ch.writes = append(ch.writes, w)
		}
		if f.onNew == nil && f.onEstablished == nil && !reads && !writes {
			return nil, fmt.Errorf("filter chain %q: %q is a %T, which is no network filter", name, fs[i].Name, fs[i].Filter)
		}
		ch.filters = append(ch.filters, f)
	}
	return ch, nil
}

// SetTransport makes f give each connection its transport, TLS, when all OnNewConnection have passed. It is
// called before the first connection.
func (ch *Chain) SetTransport(f func(*filters.Connection) engine.Transport) { ch.transport = f }

// SetAdopt makes f take up the transport of a connection that comes from the same chain on another loop.
func (ch *Chain) SetAdopt(f func(engine.Transport)) { ch.adopt = f }

// Name returns the name of the chain, or "".
func (ch *Chain) Name() string { return ch.name }

// Terminal returns the terminal filter, or nil.
func (ch *Chain) Terminal() filters.NetworkTerminal { return ch.terminal }

// direct reports whether a connection of this chain is the terminal filter's from the start.
func (ch *Chain) direct() bool {
	return ch.terminal != nil && len(ch.filters) == 0 && ch.transport == nil
}

// Conns returns the number of connections: those in the network filters, and those of the terminal filter.
func (ch *Chain) Conns() int {
	n := ch.conns.count
	if ch.terminal != nil {
		n += ch.terminal.Conns()
	}
	return n
}

// Drain asks the terminal filter to end its connections when it can. It still gets those that filters hold.
func (ch *Chain) Drain() {
	if ch.terminal != nil {
		ch.terminal.Drain()
	}
}

// Close ends all connections now.
func (ch *Chain) Close() {
	ch.conns.closeAll()
	if ch.terminal != nil {
		ch.terminal.Close()
	}
}

// Release gives back what the terminal filter holds. The chain has no connections and gets no more.
func (ch *Chain) Release() {
	if ch.terminal != nil {
		ch.terminal.Release()
	}
}
