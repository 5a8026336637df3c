package server

import (
	"millrace/cmd/internal/admin"
	"millrace/cmd/internal/control"
	"millrace/engine"
	"millrace/upstream"
)

// memoryMax is the most memory that the limits of a configuration allow, in bytes: what can be computed
// of the sum in docs/memory.md, "The worst case".
type memoryMax struct {
	blocks int64 // of all loops: heads, kept bytes and bodies, the scratch blocks
	stages int64 // of all loops
	pipes  int64 // of all loops, in the kernel
	logs   int64 // rings and batches of the access logs
	admin  int64
	// each is what the write queue of one connection may come to: the largest of all listeners and clusters.
	each int64
	// queues is the sum of all write queues. Only valid if bounded: each listener has a connection_limit.
	queues  int64
	bounded bool
}

// memoryMax adds up the limits of a snapshot.
func (s *Server) memoryMax(snap *control.Snapshot) memoryMax {
	loops, cfg := int64(len(s.workers)), engine.DefaultLoopConfig()
	m := memoryMax{
		blocks: loops * cfg.BlocksMax, stages: loops * int64(cfg.StageBytes),
		pipes: loops * int64(cfg.SplicePipesMax) * int64(cfg.SplicePipeBytes),
		logs:  s.logs.BytesMax(len(s.workers)), bounded: true,
	}
	if s.admin != nil {
		m.admin = admin.BytesMax
	}
	m.addListeners(snap, cfg.ScratchBytes)
	for _, c := range snap.Clusters {
		conns := c.Budgets[upstream.Default].Max(upstream.Connections) + c.Budgets[upstream.High].Max(upstream.Connections)
		m.addQueues(c.Config.PerConnectionBufferLimitBytes+cfg.ScratchBytes, conns)
	}
	return m
}

// addListeners adds the write queues of downstream connections: as many as the listeners' limits allow, or, if that is
// less, the limit of the process.
func (m *memoryMax) addListeners(snap *control.Snapshot, scratch int) {
	limited, sum, each, bounded := int64(0), int64(0), 0, true
	for _, l := range snap.Listeners {
		if l.UDP {
			continue
		}
		size := l.BufferLimit + scratch
		m.each = max(m.each, int64(size))
		if l.IgnoreGlobalLimit || snap.ConnectionLimit == 0 {
			m.addQueues(size, l.ConnectionLimit)
			m.bounded = m.bounded && l.ConnectionLimit > 0
			continue
		}
		limited, sum, each = limited+l.ConnectionLimit, sum+l.ConnectionLimit*int64(size), max(each, size)
		bounded = bounded && l.ConnectionLimit > 0
	}
	if most := snap.ConnectionLimit; most > 0 {
		if !bounded || limited > most {
			sum = most * int64(each)
		}
		m.queues += sum
	}
}

// addQueues adds the write queues of so many connections: up to the watermark, and what one read brings
// beyond it.
func (m *memoryMax) addQueues(each int, conns int64) {
	m.each = max(m.each, int64(each))
	m.queues += int64(each) * conns
}

// sum is everything but the write queues.
func (m *memoryMax) sum() int64 { return m.blocks + m.stages + m.pipes + m.logs + m.admin }

// attrs returns the values for a log line, in MiB rounded up.
func (m *memoryMax) attrs() []any {
	mib := func(n int64) int64 { return (n + 1<<20 - 1) >> 20 }
	list := []any{
		"sum_mib", mib(m.sum()), "blocks_mib", mib(m.blocks), "stages_mib", mib(m.stages), "pipes_mib", mib(m.pipes),
		"access_logs_mib", mib(m.logs), "admin_mib", mib(m.admin), "connection_queue_kib", m.each >> 10,
	}
	if m.bounded {
		return append(list, "queues_mib", mib(m.queues))
	}
	return append(list, "queues_mib", "no bound without connection_limit")
}
