package server

import (
	"crypto/tls"

	"millrace/cmd/internal/admin"
	"millrace/cmd/internal/control"
	"millrace/engine"
	"millrace/filters/l4"
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
	udp    int64 // of all loops: queues and sessions
	tls    int64 // handshakes that are not complete
	// each is what the write queue of one connection may come to: the largest of all listeners and clusters.
	each int64
	// queues is the sum of all write queues: what limits of connections allow, or, if that is less, the limit of
	// the loops.
	queues int64
	// limited says that all connections are limited in number.
	limited bool
}

// memoryMax adds up the limits of a snapshot.
func (s *Server) memoryMax(snap *control.Snapshot) memoryMax {
	loops, cfg := int64(len(s.workers)), engine.DefaultLoopConfig()
	m := memoryMax{
		blocks: loops * cfg.BlocksMax, stages: loops * int64(cfg.StageBytes),
		pipes: loops * int64(cfg.SplicePipesMax) * int64(cfg.SplicePipeBytes),
		logs:  s.logs.BytesMax(len(s.workers)), limited: true,
	}
	if s.admin != nil {
		m.admin = admin.BytesMax
	}
	m.addListeners(snap, cfg.ScratchBytes)
	for _, c := range snap.Clusters {
		conns := c.Budgets[upstream.Default].Max(upstream.Connections) + c.Budgets[upstream.High].Max(upstream.Connections)
		m.addQueues(c.Config.PerConnectionBufferLimitBytes+cfg.ScratchBytes, conns)
	}
	if most := loops * cfg.QueuedBytesMax; !m.limited || m.queues > most {
		m.queues = most
	}
	m.addUDP(snap, loops)
	m.addTLS(snap, int64(s.tls.limits.MaxUnderWay))
	return m
}

const (
	// handshakeBytesMax is what a TLS handshake under way may take, if its ClientHello is as long as is taken: 32 KiB, of
	// which crypto/tls keeps several copies, 190 KiB in all, and 32 KiB read ahead. One of everyday's length takes 26 KiB. Measured on
	// 23 November 2026.
	handshakeBytesMax = 256 << 10
	// handshakePeerBytesMax is what the certificates add that a client is asked for: a message of 256 KiB, and what is made
	// of it.
	handshakePeerBytesMax = 512 << 10
)

// addTLS adds what so many handshakes may take.
func (m *memoryMax) addTLS(snap *control.Snapshot, handshakes int64) {
	each := int64(0)
	for _, l := range snap.Listeners {
		for _, c := range l.AllChains() {
			if c.TLS == nil {
				continue
			}
			each = max(each, handshakeBytesMax)
			if c.TLS.TLS().ClientAuth != tls.NoClientCert {
				each = handshakeBytesMax + handshakePeerBytesMax
			}
		}
	}
	m.tls = handshakes * each
}

// udpSessionBytes is about what a UDP session takes: its socket, its timer and its place in the table.
const udpSessionBytes = 1 << 10

// addUDP adds what UDP listeners take.
func (m *memoryMax) addUDP(snap *control.Snapshot, loops int64) {
	sessions, any := int64(0), false
	for _, l := range snap.Listeners {
		if !l.UDP {
			continue
		}
		any = true
		for _, c := range l.Chains {
			if cfg, ok := c.Filters[len(c.Filters)-1].Config.(*l4.UDPProxyConfig); ok {
				sessions += int64(cfg.MaxSessions)
			}
		}
	}
	if any {
		m.udp = loops*engine.PacketBytesMax + sessions*udpSessionBytes
	}
}

// addListeners adds the write queues of downstream connections: as many as the listeners' limits allow, or, if that is
// less, the limit of the process.
func (m *memoryMax) addListeners(snap *control.Snapshot, scratch int) {
	var counted memoryMax // those for which the limit of the process holds
	counted.limited = true
	for _, l := range snap.Listeners {
		if l.UDP {
			continue
		}
		to := m
		if snap.ConnectionLimit > 0 && !l.IgnoreGlobalLimit {
			to = &counted
		}
		to.addQueues(l.BufferLimit+scratch, l.ConnectionLimit)
		to.limited = to.limited && l.ConnectionLimit > 0
	}
	if most := snap.ConnectionLimit * counted.each; !counted.limited || counted.queues > most {
		counted.queues = most
	}
	m.each = max(m.each, counted.each)
	m.queues += counted.queues
}

// addQueues adds the write queues of so many connections: up to the watermark, and what one read brings
// beyond it.
func (m *memoryMax) addQueues(each int, conns int64) {
	m.each = max(m.each, int64(each))
	m.queues += int64(each) * conns
}

// sum is everything but the write queues.
func (m *memoryMax) sum() int64 {
	return m.blocks + m.stages + m.pipes + m.logs + m.admin + m.udp + m.tls
}

// attrs returns the values for a log line, in MiB rounded up.
func (m *memoryMax) attrs() []any {
	mib := func(n int64) int64 { return (n + 1<<20 - 1) >> 20 }
	return []any{
		"sum_mib", mib(m.sum()), "blocks_mib", mib(m.blocks), "stages_mib", mib(m.stages), "pipes_mib", mib(m.pipes),
		"access_logs_mib", mib(m.logs), "admin_mib", mib(m.admin), "udp_mib", mib(m.udp),
		"tls_handshakes_mib", mib(m.tls), "connection_queue_kib", m.each >> 10,
		"queues_mib", mib(m.queues),
	}
}
