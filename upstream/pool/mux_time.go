package pool

import (
	"time"

	"millrace/engine"
)

// settingsTimeout bounds how long a host may take to acknowledge our SETTINGS.
const settingsTimeout = int64(10 * time.Second)

// keepalive is a connection_keepalive, in the loop's units.
type keepalive struct {
	interval     int64 // ns, 0 is never
	timeout      int64
	jitter       float64 // share of interval
	idleInterval int64   // ns, 0 is never
}

// jittered lengthens d by a random share of it, up to share.
func jittered(l *engine.Loop, d int64, share float64) int64 {
	if most := int64(float64(d) * share); most > 0 {
		return d + l.Rand().Int64N(most+1)
	}
	return d
}

// oldAt returns when a connection reaches max_connection_duration, 0 for never. Its jitter comes from its number, so that it
// need not be kept.
func (s *settings) oldAt(createdAt int64, id uint32) int64 {
	if s.maxDuration <= 0 {
		return 0
	}
	share := float64(id*0x9e3779b1) / (1 << 32)
	return createdAt + s.maxDuration + int64(float64(s.maxDuration)*s.durationJitter*share)
}

// arm sets the deadline to the earliest of what is waited for.
func (m *mux) arm() {
	s := m.pool.settings
	at := m.oldAt
	if m.state == muxDraining {
		at = 0
	}
	sooner := func(t int64) {
		if at == 0 || t < at {
			at = t
		}
	}
	if !m.client.Acknowledged() {
		sooner(m.openedAt + settingsTimeout)
	}
	if m.resting && s.idleTimeout > 0 {
		sooner(m.idleSince + s.idleTimeout)
	}
	switch {
	case m.pinging:
		sooner(m.pingAt + s.keepalive.timeout)
	case m.pingEvery > 0:
		sooner(m.pingAt + m.pingEvery)
	}
	m.ec.SetDeadline(at)
}

// OnTimeout implements [engine.Handler].
func (m *mux) OnTimeout() {
	now, s, stats := m.pool.cluster.loop.Now(), m.pool.settings, &m.pool.cluster.Stats
	switch {
	case m.state == muxClosed:
		return
	case m.state == muxConnecting:
		stats.CxConnectTimeout.Inc()
		m.connectFailed(closeLocal, ConnectTimeout, timeoutText(m.ec))
		return
	case m.silent(now):
		stats.H2Keepalive.Inc()
		m.fail(closeLocal, ConnectionTermination)
		return
	case !m.client.Acknowledged() && now >= m.openedAt+settingsTimeout:
		m.settingsTimeout()
		return
	case m.resting && s.idleTimeout > 0 && now >= m.idleSince+s.idleTimeout:
		stats.CxIdleTimeout.Inc()
		m.close(closeLocal)
		return
	}
	if m.state == muxOpen && m.oldAt != 0 && now >= m.oldAt {
		stats.CxMaxDuration.Inc()
		if m.drain(); m.isIdle() {
			m.close(closeLocal)
			return
		}
	}
	if !m.pinging && m.pingEvery > 0 && now >= m.pingAt+m.pingEvery {
		m.ping(now)
	}
	m.arm()
}

// settingsTimeout ends a connection whose host does not acknowledge our SETTINGS.
func (m *mux) settingsTimeout() {
	stats := &m.pool.cluster.Stats
	stats.H2SettingsTimeout.Inc()
	m.broke(m.client.SettingsTimeout())
}

// ping asks whether the host is there.
func (m *mux) ping(now int64) {
	m.pinging, m.pingAt, m.pingIn = true, now, m.ec.BytesIn()
	m.client.Ping(uint64(now))
	m.ec.Staged(m.stage())
}

// silent reports whether a PING has waited too long for an answer. One that has come, or anything else the host has sent since,
// ends the wait.
func (m *mux) silent(now int64) bool {
	if !m.pinging {
		return false
	}
	if m.ec.BytesIn() != m.pingIn {
		m.pinging = false
		m.nextPing()
		return false
	}
	return now >= m.pingAt+m.pool.settings.keepalive.timeout
}

// nextPing draws the time to the next PING.
func (m *mux) nextPing() {
	k := &m.pool.settings.keepalive
	m.pingEvery = 0
	if k.interval > 0 {
		m.pingEvery = jittered(m.pool.cluster.loop, k.interval, k.jitter)
	}
}

// askIfIdle sends a PING along with the first request after a long rest.
func (m *mux) askIfIdle() {
	k, now := &m.pool.settings.keepalive, m.pool.cluster.loop.Now()
	if k.idleInterval > 0 && !m.pinging && now >= m.idleSince+k.idleInterval {
		m.ping(now)
		m.arm()
	}
}
