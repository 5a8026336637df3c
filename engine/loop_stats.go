package engine

import (
	"millrace/engine/arena"
	"millrace/engine/stats"
)

// LoopStats counts one loop. The loop writes, anyone reads.
type LoopStats struct {
	Turns          stats.Counter `stat:"loop_turns" help:"rounds of the loop"`
	Events         stats.Counter `stat:"loop_events" help:"epoll events handled"`
	StaleEvents    stats.Counter `stat:"loop_stale_events" help:"events of connections closed earlier in the batch"`
	Waits          stats.Counter `stat:"loop_waits" help:"turns that slept in epoll_wait"`
	Panics         stats.Counter `stat:"loop_panics" help:"panics of handlers that were recovered"`
	Posted         stats.Counter `stat:"loop_posted" help:"functions posted to the loop and run"`
	TurnLongest    stats.Gauge   `stat:"loop_turn_longest_ns" help:"longest turn so far, nanoseconds"`
	BusyNs         stats.Counter `stat:"loop_busy_ns" help:"time spent in turns, nanoseconds; the rest was spent asleep"`
	ConnsOpen      stats.Gauge   `stat:"loop_conns_open" help:"connections now open"`
	Leftovers      stats.Gauge   `stat:"loop_conns_leftover" help:"closed connections of which the kernel holds TLS records that TCP has no room for yet"`
	Accepted       stats.Counter `stat:"loop_accepted" help:"connections accepted"`
	AcceptErrors   stats.Counter `stat:"loop_accept_errors" help:"accepts that failed and were skipped"`
	AcceptsPaused  stats.Counter `stat:"loop_accepts_paused" help:"times accepting paused for want of file descriptors or memory"`
	ConnsMaxHit    stats.Counter `stat:"loop_conns_max_hit" help:"times accepting paused or a dial failed at the limit of connections"`
	Dialled        stats.Counter `stat:"loop_dialled" help:"connections begun to upstreams"`
	ConnsGiven     stats.Counter `stat:"loop_conns_given" help:"connections that left for another loop, or came back from one that did not take them"`
	ConnsTaken     stats.Counter `stat:"loop_conns_taken" help:"connections that came from another loop, or back from one"`
	ReadShareHit   stats.Counter `stat:"loop_read_share_hit" help:"times a connection used up its share of a turn"`
	KeptMaxHit     stats.Counter `stat:"loop_kept_max_hit" help:"times reading stopped because a handler consumed nothing of a full block"`
	QueuedBytes    stats.Gauge   `stat:"loop_queued_bytes" help:"bytes in write queues"`
	QueuedMaxHit   stats.Counter `stat:"loop_queued_max_hit" help:"connections closed because the write queues of the loop were at their limit"`
	SplicedBytes   stats.Counter `stat:"loop_spliced_bytes" help:"bytes moved by splice"`
	SpliceCopied   stats.Counter `stat:"loop_splice_copied_bytes" help:"bytes of splices that were read and written, because pieces were small or no pipe could be had"`
	SplicePipes    stats.Gauge   `stat:"loop_splice_pipes" help:"pipes open for splice"`
	ArenaLeased    stats.Gauge   `stat:"arena_leased_bytes" help:"bytes of blocks now leased"`
	ArenaMapped    stats.Gauge   `stat:"arena_mapped_bytes" help:"bytes of address space held for blocks"`
	ArenaRefused   stats.Counter `stat:"arena_refused" help:"blocks refused because the budget was spent"`
	SplicePipesHit stats.Counter `stat:"loop_splice_pipes_max_hit" help:"times a large piece of a splice was copied because no pipe could be had"`
}

// noteArena publishes the numbers of the block pool, which counts without atomics.
func (s *LoopStats) noteArena(p *arena.Pool) {
	if n := p.Leased(); n != s.ArenaLeased.Load() {
		s.ArenaLeased.Set(n)
	}
	if n := p.Mapped(); n != s.ArenaMapped.Load() {
		s.ArenaMapped.Set(n)
	}
	if n := p.Refused(); n != s.ArenaRefused.Load() {
		s.ArenaRefused.Add(n - s.ArenaRefused.Load())
	}
}
