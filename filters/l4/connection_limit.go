package l4

import (
	"sync/atomic"
	"time"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/engine/timer"
	"millrace/filters"
)

// ConnectionLimitConfig configures the "connection_limit" filter, which closes connections of its chain beyond a
// number of them.
type ConnectionLimitConfig struct {
	// StatPrefix is the name in the counters: connection_limit.<stat_prefix>.
	StatPrefix string `json:"stat_prefix" required:"true"`
	// MaxConnections is how many connections all loops together may have. 1 to 1000000000.
	MaxConnections int `json:"max_connections" required:"true" min:"1" max:"1000000000"`
	// Delay is how long a connection beyond the limit is held before it is closed, so that a peer that tries again
	// at once does so less often. It costs a socket that long. Default: 0s, close at once.
	Delay time.Duration `json:"delay" default:"0s" max:"1h"`
	// RuntimeEnabled turns the filter on. Default: true.
	RuntimeEnabled bool `json:"runtime_enabled" default:"true" v3:"runtime_enabled.default_value"`
}

// connectionLimitCount is how many connections all loops have.
type connectionLimitCount struct{ now atomic.Int64 }

// enter counts one more connection, if there may be one.
func (n *connectionLimitCount) enter(limit int64) bool {
	for {
		now := n.now.Load()
		if now >= limit {
			return false
		}
		if n.now.CompareAndSwap(now, now+1) {
			return true
		}
	}
}

func (n *connectionLimitCount) leave() { n.now.Add(-1) }

// connectionLimit closes connections beyond a number.
type connectionLimit struct {
	loop  *engine.Loop
	slot  int
	max   int64
	delay time.Duration
	off   bool
	count *connectionLimitCount
	stats *connectionLimitStats
}

// connectionLimitStats counts one chain on one loop.
type connectionLimitStats struct {
	Limited stats.Counter `stat:"limited_connections" help:"connections closed because there were max_connections"`
	Active  stats.Gauge   `stat:"active_connections" help:"connections now open, those that wait to be closed too"`
}

func shareConnectionLimit(*ConnectionLimitConfig, *filters.SharedEnv) (*connectionLimitCount, error) {
	return new(connectionLimitCount), nil
}

func newConnectionLimit(cfg *ConnectionLimitConfig, count *connectionLimitCount, env *filters.NetworkEnv) (any, error) {
	return &connectionLimit{
		loop: env.Loop, slot: env.Slot, max: int64(cfg.MaxConnections), delay: cfg.Delay, off: !cfg.RuntimeEnabled, count: count,
		stats: stats.Register[connectionLimitStats](env.Stats,
			stats.Root("connection_limit").Tag("envoy_connection_limit_prefix", cfg.StatPrefix)),
	}, nil
}

// connectionLimitDetails is the reason in the access log.
const connectionLimitDetails = "over_connection_limit"

// A connectionLimitRefusal is in the slot of a connection beyond the limit. It ends the connection after the delay.
type connectionLimitRefusal struct {
	timer timer.Timer
	c     *filters.Connection
}

// OnTimer implements timer.Firer.
func (r *connectionLimitRefusal) OnTimer(int64) { r.c.Close(0, connectionLimitDetails) }

// OnNewConnection implements filters.NewConnectionFilter.
func (f *connectionLimit) OnNewConnection(c *filters.Connection) filters.NetworkVerdict {
	if f.off {
		return filters.NetworkContinue
	}
	f.stats.Active.Inc()
	if f.count.enter(f.max) {
		return filters.NetworkContinue
	}
	f.stats.Limited.Inc()
	r := &connectionLimitRefusal{c: c}
	c.SetSlot(f.slot, r)
	if f.delay <= 0 {
		c.Details = connectionLimitDetails
		return filters.NetworkClose
	}
	r.timer.Init(r)
	f.loop.Wheel().Set(&r.timer, f.loop.Now()+int64(f.delay))
	return filters.NetworkPause
}

// OnEnd implements filters.EndFilter.
func (f *connectionLimit) OnEnd(c *filters.Connection) {
	if f.off {
		return
	}
	f.stats.Active.Dec()
	if r, refused := c.Slot(f.slot).(*connectionLimitRefusal); refused {
		f.loop.Wheel().Unlink(&r.timer)
		return
	}
	f.count.leave()
}
