package upstream

import "sync/atomic"

// HostOutlier is what outlier detection counts of a host: once for each response, and only in clusters that have it. The
// loops write, upstream/health judges.
type HostOutlier struct {
	consecutive [consecutiveCount]atomic.Uint32
	volume      [2]volume // by whether the results are of local origin
}

// volume is results since the last look.
type volume struct{ total, good atomic.Uint64 }

// Consecutive is something that counts in a row.
type Consecutive uint8

const (
	Consecutive5xx          Consecutive = iota // responses with 5xx
	ConsecutiveGateway                         // of them, 502, 503 and 504
	ConsecutiveLocalFailure                    // connections that failed, and timeouts, where they are judged apart
	consecutiveCount

	// SaidDegraded is no row: one response has said x-envoy-degraded.
	SaidDegraded = consecutiveCount
)

// Take returns the results since the last call, and how many of them were good.
func (o *HostOutlier) Take(local bool) (total, good uint64) {
	v := &o.volume[index(local)]
	good = v.good.Swap(0) // first: a result that comes in between is counted bad once, not good without being there
	total = v.total.Swap(0)
	return total, min(good, total)
}

// Reset begins a row anew.
func (o *HostOutlier) Reset(what Consecutive) { o.consecutive[what].Store(0) }

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Outlier takes in what requests to the hosts of a cluster bring. The loops call it; nil does nothing.
type Outlier struct {
	limits   [consecutiveCount]uint32
	split    bool
	degrades bool
	// reached is told that a row is long enough, or of SaidDegraded. It does not wait.
	reached func(h *Host, what Consecutive)
}

// NewOutlier returns what the loops need of outlier detection, nil for a cluster without it.
func NewOutlier(cfg *OutlierConfig, reached func(h *Host, what Consecutive)) *Outlier {
	if cfg == nil {
		return nil
	}
	return &Outlier{
		limits: [...]uint32{cfg.Consecutive5xx, cfg.ConsecutiveGatewayFailure, cfg.ConsecutiveLocalOriginFailure},
		split:  cfg.SplitExternalLocalOriginErrors, degrades: cfg.DetectDegradedHosts,
		reached: reached,
	}
}

// Degrades reports whether responses that say x-envoy-degraded count.
func (o *Outlier) Degrades() bool { return o != nil && o.degrades }

// Degraded takes in a response that says x-envoy-degraded.
func (o *Outlier) Degraded(h *Host) { o.reached(h, SaidDegraded) }

// Status takes in a response.
func (o *Outlier) Status(h *Host, status int) {
	if o != nil {
		o.external(h, status)
	}
}

// ConnectFailed takes in a connection that did not open, or a request that was reset.
func (o *Outlier) ConnectFailed(h *Host) { o.failed(h, 503) }

// TimedOut takes in a connection or a response that did not come in time. status is what it is answered with.
func (o *Outlier) TimedOut(h *Host, status int) { o.failed(h, status) }

// Connected takes in a connection that opened; final says that nothing else will be known of it, as with TCP.
func (o *Outlier) Connected(h *Host, final bool) {
	switch {
	case o == nil:
	case o.split:
		o.count(h, true, true)
		h.Outlier.clear(ConsecutiveLocalFailure)
	case final:
		o.external(h, 200)
	}
}

func (o *Outlier) failed(h *Host, status int) {
	switch {
	case o == nil:
	case o.split:
		o.count(h, true, false)
		o.step(h, ConsecutiveLocalFailure)
	default:
		o.external(h, status)
	}
}

func (o *Outlier) external(h *Host, status int) {
	bad := status >= 500
	o.count(h, false, !bad)
	if !bad {
		h.Outlier.clear(Consecutive5xx)
		h.Outlier.clear(ConsecutiveGateway)
		return
	}
	o.step(h, Consecutive5xx)
	if status >= 502 && status <= 504 {
		o.step(h, ConsecutiveGateway)
	} else {
		h.Outlier.clear(ConsecutiveGateway)
	}
}

func (o *Outlier) count(h *Host, local, good bool) {
	v := &h.Outlier.volume[index(local)]
	v.total.Add(1)
	if good {
		v.good.Add(1)
	}
}

// step lengthens a row. It is long enough at each multiple of its limit: should a message be lost, another follows.
func (o *Outlier) step(h *Host, what Consecutive) {
	n, limit := h.Outlier.consecutive[what].Add(1), o.limits[what]
	if limit > 0 && n%limit == 0 {
		o.reached(h, what)
	}
}

// clear ends a row. Most have not begun, and then nothing is written.
func (o *HostOutlier) clear(what Consecutive) {
	if c := &o.consecutive[what]; c.Load() != 0 {
		c.Store(0)
	}
}
