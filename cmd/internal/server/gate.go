package server

import (
	"strconv"
	"sync/atomic"
	"time"

	"millrace/cmd/internal/control"
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/l4"
)

// gate counts the connections of a listener on one loop, and holds its connection_limit and that of the process.
// It implements l4.Gate.
type gate struct {
	w      *worker
	limit  int64         // 0 is none
	open   *atomic.Int64 // of the listener, over all loops
	total  *atomic.Int64 // of the process: those that count for its limit, or those that do not
	most   *atomic.Int64 // the limit of the process, 0 is none
	buffer int
	stats  *listenerStats

	accepted int // in this turn of the loop
}

// newGate returns the gate of a listener on this loop.
func (w *worker) newGate(l *control.Listener, register stats.Registrar) *gate {
	scope := stats.ListenerScope(l.StatName)
	g := &gate{
		w: w, limit: l.ConnectionLimit, open: l.Open, total: &w.server.connections, most: &w.server.connectionLimit,
		buffer: l.BufferLimit, stats: stats.Register[listenerStats](register, scope),
	}
	if l.IgnoreGlobalLimit {
		g.total, g.most = &w.server.exempt, new(atomic.Int64)
	}
	register(workerScope(scope, w.loop.Index()), &g.stats.acceptStats)
	return g
}

// listenerStats counts one listener on one loop: "listener.<address>.".
type listenerStats struct {
	acceptStats
	l4.Stats
	CxDestroy        stats.Counter   `stat:"downstream_cx_destroy" help:"connections ended"`
	CxOverflow       stats.Counter   `stat:"downstream_cx_overflow" help:"connections refused at connection_limit"`
	CxGlobalOverflow stats.Counter   `stat:"downstream_global_cx_overflow" help:"connections refused at overload.max_active_downstream_connections"`
	CxLengthMs       stats.Histogram `stat:"downstream_cx_length_ms" unit:"us" help:"life of a connection, milliseconds"`
	CxPerEvent       stats.Histogram `stat:"connections_accepted_per_socket_event" help:"connections accepted in one turn of a loop, refused ones too"`
}

// acceptStats are those that are shown for each loop too: "listener.<address>.worker_<i>.".
type acceptStats struct {
	CxTotal  stats.Counter `stat:"downstream_cx_total" help:"connections accepted"`
	CxActive stats.Gauge   `stat:"downstream_cx_active" help:"connections now open"`
}

// workerScope is the scope of what a listener counts for one loop, with labels as Envoy has them:
// "listener.<address>.worker_0.downstream_cx_total" is envoy_listener_worker_downstream_cx_total{envoy_worker_id="0"}.
func workerScope(listener stats.Scope, loop int) stats.Scope {
	id := strconv.Itoa(loop)
	s := listener.Name("worker_" + id)
	s.Root = listener.Root + "worker_"
	s.Labels = append(s.Labels[:len(s.Labels):len(s.Labels)], stats.Label{Name: "envoy_worker_id", Value: id})
	return s
}

// Admit implements l4.Gate. Connections are counted even without a limit: a reload may bring one.
func (g *gate) Admit(io *engine.Conn) bool {
	if g.accepted == 0 {
		g.w.loop.Later(g)
	}
	g.accepted++
	if g.open.Add(1) > g.limit && g.limit > 0 {
		g.open.Add(-1)
		g.stats.CxOverflow.Inc()
		return false
	}
	if n, most := g.total.Add(1), g.most.Load(); n > most && most > 0 {
		g.open.Add(-1)
		g.total.Add(-1)
		g.stats.CxGlobalOverflow.Inc()
		return false
	}
	g.stats.CxTotal.Inc()
	g.stats.CxActive.Inc()
	g.w.born.set(io.Token().Slot, g.w.loop.Now())
	io.SetWatermarks(g.buffer, g.buffer/2)
	return true
}

// RunTask implements engine.Task: it counts what the turn has accepted.
func (g *gate) RunTask() {
	g.stats.CxPerEvent.Record(uint64(g.accepted))
	g.accepted = 0
}

// Left implements l4.Gate.
func (g *gate) Left(io *engine.Conn, _ *filters.Connection) {
	g.open.Add(-1)
	g.total.Add(-1)
	g.stats.CxActive.Dec()
	g.stats.CxDestroy.Inc()
	g.stats.CxLengthMs.Record(uint64(g.w.born.age(io.Token().Slot, g.w.loop.Now()) / time.Microsecond))
}

// births are the times at which the downstream connections of a loop were accepted, by the slot of the connection: in
// milliseconds of the loop's clock, which wrap after 49 days.
type births []uint32

func (b *births) set(slot uint32, now int64) { b.put(slot, birthOf(now)) }

// put is set for a connection that was accepted on another loop.
func (b *births) put(slot, birth uint32) {
	for int(slot) >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[slot] = birth
}

// age returns how long the connection of a slot lives.
func (b births) age(slot uint32, now int64) time.Duration {
	return time.Duration(birthOf(now)-b[slot]) * time.Millisecond
}

func birthOf(now int64) uint32 { return uint32(now / int64(time.Millisecond)) }
