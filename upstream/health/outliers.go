package health

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"millrace/upstream"
)

// rowsMax bounds the messages of loops about rows of failures that wait to be looked at.
const rowsMax = 1024

// Outliers ejects hosts by what requests bring, in all clusters with outlier detection, and brings them back.
type Outliers struct {
	// Stats is known by the process as outlier_detection.
	Stats   OutliersStats
	ignored atomic.Uint64 // of Stats, before it is there

	changed func(cluster string)
	cancel  context.CancelFunc
	rows    chan row
	wake    chan struct{}
	running sync.WaitGroup
	logs    eventLogs

	mu       sync.Mutex
	clusters map[string]*outlierCluster
	closed   bool
}

// row is a row of failures that is long enough.
type row struct {
	cluster string
	host    *upstream.Host
	what    upstream.Consecutive
}

// outlierCluster is the hosts of a cluster.
type outlierCluster struct {
	name  string
	cfg   *upstream.OutlierConfig
	stats *OutlierStats
	log   *events
	hosts map[*upstream.Host]*outlierHost
	due   time.Time // of the next sweep
}

type outlierHost struct {
	host *upstream.Host
	ejection
	degraded ejection // likewise, from the hosts that are preferred
}

// NewOutliers returns one without clusters. changed is called, on any goroutine, when balancing in a cluster has to hear of
// the health of its hosts. Close ends it.
func NewOutliers(changed func(cluster string)) *Outliers {
	o := &Outliers{
		changed: changed, rows: make(chan row, rowsMax), wake: make(chan struct{}, 1), clusters: map[string]*outlierCluster{},
	}
	o.logs.lost, o.logs.failed = &o.Stats.EventsLost, &o.Stats.EventsFailed
	ctx, cancel := context.WithCancel(context.Background())
	o.cancel = cancel
	o.running.Go(func() { o.run(ctx) })
	return o
}

// Close ends it. Hosts stay as they are.
func (o *Outliers) Close() {
	o.cancel()
	o.running.Wait()
	o.mu.Lock()
	for _, c := range o.clusters {
		o.logs.leave(c.log)
	}
	clear(o.clusters)
	o.closed = true // the last reload may still be under way
	o.mu.Unlock()
	o.logs.close()
}

// Reopen opens the event logs anew, after they were moved away.
func (o *Outliers) Reopen() { o.logs.reopen() }

// Reached returns what the loops call when a row in a cluster is long enough. It does not wait.
func (o *Outliers) Reached(cluster string) func(*upstream.Host, upstream.Consecutive) {
	return func(h *upstream.Host, what upstream.Consecutive) {
		known := upstream.FailedOutlier
		if what == upstream.SaidDegraded {
			known = upstream.DegradedOutlier
		}
		if h.Health()&known != 0 {
			return
		}
		select {
		case o.rows <- row{cluster, h, what}:
		default: // the row goes on
			o.ignored.Add(1)
		}
	}
}

// Set begins to judge the hosts of a cluster, or goes on: hosts that stay keep their state. Without outlier detection in its
// config the cluster is removed. st counts.
func (o *Outliers) Set(c *upstream.Cluster, st *OutlierStats) {
	cfg := c.Config.OutlierDetection
	if cfg == nil {
		o.Remove(c.Name)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	oc := o.clusters[c.Name]
	if oc == nil {
		oc = &outlierCluster{name: c.Name, hosts: map[*upstream.Host]*outlierHost{}}
		o.clusters[c.Name] = oc
	}
	if oc.cfg == nil || oc.cfg.EventLogPath != cfg.EventLogPath {
		o.logs.leave(oc.log)
		oc.log = o.logs.openPath(cfg.EventLogPath)
	}
	if oc.cfg == nil || oc.cfg.Interval != cfg.Interval {
		oc.due = time.Now().Add(cfg.Interval)
		o.stir()
	}
	oc.cfg, oc.stats = cfg, st
	oc.setHosts(c.Hosts())
}

// SetHosts is for hosts that have changed while the config did not.
func (o *Outliers) SetHosts(cluster string, hosts []*upstream.Host) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.clusters[cluster]; c != nil {
		c.setHosts(hosts)
	}
}

func (c *outlierCluster) setHosts(hosts []*upstream.Host) {
	stay := make(map[*upstream.Host]*outlierHost, len(hosts))
	for _, h := range hosts {
		if stay[h] = c.hosts[h]; stay[h] == nil {
			stay[h] = &outlierHost{host: h}
		}
	}
	c.hosts = stay
	c.stats.Active.Set(int64(c.ejected()))
}

// ejected returns how many hosts are.
func (c *outlierCluster) ejected() (n int) {
	for _, h := range c.hosts {
		if h.ejected {
			n++
		}
	}
	return n
}

// Remove ends outlier detection in a cluster. Its ejected hosts come back.
func (o *Outliers) Remove(cluster string) {
	o.mu.Lock()
	changed := false
	if c := o.clusters[cluster]; c != nil {
		for _, h := range c.hosts {
			changed = h.host.ReplaceHealth(upstream.FailedOutlier|upstream.DegradedOutlier, 0) || changed
		}
		c.stats.Active.Set(0)
		o.logs.leave(c.log)
		delete(o.clusters, cluster)
	}
	o.mu.Unlock()
	if changed {
		o.changed(cluster)
	}
}

// Passed tells that an active check of a host has passed.
func (o *Outliers) Passed(cluster string, host *upstream.Host) {
	if host.Health()&upstream.FailedOutlier == 0 {
		return
	}
	o.with(cluster, func(c *outlierCluster) (changed bool) {
		h := c.hosts[host]
		return h != nil && h.ejected && c.cfg.SuccessfulActiveHealthCheckUnejectHost && o.uneject(c, h, time.Now())
	})
}

// with does f with a cluster that is there, and tells balancing if it says so.
func (o *Outliers) with(cluster string, f func(*outlierCluster) (changed bool)) {
	o.mu.Lock()
	c := o.clusters[cluster]
	changed := c != nil && f(c)
	o.mu.Unlock()
	if changed {
		o.changed(cluster)
	}
}

// run looks at what the loops tell, and at each cluster once an interval.
func (o *Outliers) run(ctx context.Context) {
	timer := time.NewTimer(idleWait)
	defer timer.Stop()
	for {
		timer.Reset(o.sweepDue(time.Now()))
		select {
		case <-timer.C:
		case <-o.wake:
		case r := <-o.rows:
			o.with(r.cluster, func(c *outlierCluster) bool { return o.consecutive(c, r, time.Now()) })
		case <-ctx.Done():
			return
		}
	}
}

func (o *Outliers) stir() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// sweepDue looks at the clusters whose interval is over. It returns how long to sleep: 10 ms at least, so that thousands of
// clusters are gone through a hundred times a second and no more.
func (o *Outliers) sweepDue(now time.Time) time.Duration {
	var due []string
	wait := idleWait
	o.mu.Lock()
	o.Stats.Ignored.Add(o.ignored.Swap(0))
	for name, c := range o.clusters {
		if !c.due.After(now) {
			due = append(due, name)
			c.due = now.Add(c.cfg.Interval)
		}
		wait = min(wait, c.due.Sub(now))
	}
	o.mu.Unlock()
	for _, name := range due {
		o.with(name, func(c *outlierCluster) bool { return o.sweep(c, now) })
	}
	return max(wait, 10*time.Millisecond)
}

// consecutive judges a row of failures.
func (o *Outliers) consecutive(c *outlierCluster, r row, now time.Time) (changed bool) {
	h := c.hosts[r.host]
	switch {
	case h == nil:
		return false
	case r.what == upstream.SaidDegraded:
		return c.degrade(h, now)
	case h.ejected:
		return false
	}
	changed = o.found(c, h, outlierKind(r.what), now, nil)
	h.host.Outlier.Reset(r.what)
	return changed
}

// degrade makes a host one that is used when the others are too few. max_ejection_percent does not bound that: nothing is
// taken away.
func (c *outlierCluster) degrade(h *outlierHost, now time.Time) (changed bool) {
	if !c.cfg.DetectDegradedHosts || h.degraded.ejected {
		return false
	}
	c.stats.DetectedDegradation.Inc()
	h.degraded.eject(c.cfg, now, 0)
	return h.host.SetHealth(upstream.DegradedOutlier, true)
}

// sweep brings hosts back whose time is over, and compares the others.
func (o *Outliers) sweep(c *outlierCluster, now time.Time) (changed bool) {
	var rates [2][]rate
	for _, h := range c.hosts {
		if h.sweep(now) {
			changed = o.uneject(c, h, now) || changed
		}
		if over := h.degraded.sweep(now); over || h.degraded.ejected && !c.cfg.DetectDegradedHosts {
			h.degraded.ejected = false
			changed = h.host.SetHealth(upstream.DegradedOutlier, false) || changed
		}
		for i := range rates {
			total, good := h.host.Outlier.Take(i == 1)
			if !h.ejected && total > 0 {
				rates[i] = append(rates[i], rate{h, total, 100 * float64(good) / float64(total)})
			}
		}
	}
	changed = o.compare(c, rates[0], kindSuccessRate, kindFailurePercentage, now) || changed
	if c.cfg.SplitExternalLocalOriginErrors {
		changed = o.compare(c, rates[1], kindLocalSuccessRate, kindLocalFailurePercentage, now) || changed
	}
	return changed
}

// compare finds hosts whose success rate is low, compared with the others and by itself.
func (o *Outliers) compare(c *outlierCluster, all []rate, relative, absolute outlierKind, now time.Time) (changed bool) {
	cfg := c.cfg
	if list := withVolume(all, cfg.SuccessRateRequestVolume); len(list) > 0 && len(list) >= int(cfg.SuccessRateMinimumHosts) {
		mean, threshold := successThreshold(list, cfg.SuccessRateStdevFactor)
		for _, r := range list {
			if r.percent < threshold {
				changed = o.found(c, r.host, relative, now, func(e *outlierEvent) {
					e.Success = &successOf{math100(r.percent), math100(mean), math100(threshold)}
				}) || changed
			}
		}
	}
	if list := withVolume(all, cfg.FailurePercentageRequestVolume); len(list) > 0 && len(list) >= int(cfg.FailurePercentageMinimumHosts) {
		for _, r := range list {
			if 100-r.percent >= float64(cfg.FailurePercentageThreshold) {
				changed = o.found(c, r.host, absolute, now, func(e *outlierEvent) {
					e.Failure = &percentageOf{math100(r.percent)}
				}) || changed
			}
		}
	}
	return changed
}

// math100 makes a percentage one of the event log, which has whole ones.
func math100(p float64) uint32 { return uint32(max(p, 0)) }

// found takes in that a host is an outlier. It reports whether the host is ejected and balancing has to hear of it.
func (o *Outliers) found(c *outlierCluster, h *outlierHost, k outlierKind, now time.Time, more func(*outlierEvent)) (changed bool) {
	detected, count := c.stats.of(k)
	detected.Inc()
	if h.ejected {
		return false
	}
	if !mayEject(c.cfg, c.ejected(), len(c.hosts)) {
		c.stats.Overflow.Inc()
		return false
	}
	since := sinceLast(h, now)
	yes := enforced(k.enforcing(c.cfg))
	if yes {
		var jitter time.Duration
		if j := c.cfg.MaxEjectionTimeJitter; j > 0 {
			jitter = rand.N(j)
		}
		h.eject(c.cfg, now, jitter)
		changed = h.host.SetHealth(upstream.FailedOutlier, true)
		c.stats.Enforced.Inc()
		count.Inc()
		c.stats.Active.Set(int64(c.ejected()))
	}
	o.record(c, h, now, since, func(e *outlierEvent) {
		e.Action, e.Type, e.Enforced = "EJECT", kindNames[k], &yes
		if more != nil {
			more(e)
		}
	})
	return changed
}

// uneject brings a host back.
func (o *Outliers) uneject(c *outlierCluster, h *outlierHost, now time.Time) (changed bool) {
	since := sinceLast(h, now)
	h.ejected, h.last = false, now
	for what := upstream.Consecutive5xx; what <= upstream.ConsecutiveLocalFailure; what++ {
		h.host.Outlier.Reset(what)
	}
	h.host.Outlier.Take(false) // what it did before it was ejected does not speak against it any more
	h.host.Outlier.Take(true)
	changed = h.host.SetHealth(upstream.FailedOutlier, false)
	c.stats.Active.Set(int64(c.ejected()))
	o.record(c, h, now, since, func(e *outlierEvent) { e.Action = "UNEJECT" })
	return changed
}

// outlierEvent is a line, in the words of envoy.data.cluster.v3.OutlierDetectionEvent.
type outlierEvent struct {
	Type      string        `json:"type,omitempty"`
	Timestamp string        `json:"timestamp"`
	Since     *int64        `json:"secs_since_last_action,omitempty"`
	Cluster   string        `json:"cluster_name"`
	URL       string        `json:"upstream_url"`
	Action    string        `json:"action"`
	Count     int           `json:"num_ejections"`
	Enforced  *bool         `json:"enforced,omitempty"`
	Success   *successOf    `json:"eject_success_rate_event,omitempty"`
	Failure   *percentageOf `json:"eject_failure_percentage_event,omitempty"`
}

type successOf struct {
	Host      uint32 `json:"host_success_rate"`
	Average   uint32 `json:"cluster_average_success_rate"`
	Threshold uint32 `json:"cluster_success_rate_ejection_threshold"`
}

type percentageOf struct {
	Host uint32 `json:"host_success_rate"`
}

// sinceLast returns the seconds since the last ejection or return of a host, nil if there was none.
func sinceLast(h *outlierHost, now time.Time) *int64 {
	if h.last.IsZero() {
		return nil
	}
	n := int64(now.Sub(h.last) / time.Second)
	return &n
}

// record writes a line, if there is an event log. Precondition: o is locked.
func (o *Outliers) record(c *outlierCluster, h *outlierHost, now time.Time, since *int64, fill func(*outlierEvent)) {
	if c.log == nil {
		return
	}
	e := outlierEvent{
		Timestamp: now.UTC().Format("2006-01-02T15:04:05.000Z"), Since: since, Cluster: c.name, URL: h.host.Name, Count: h.count,
	}
	fill(&e)
	line, _ := json.Marshal(&e) // of such a struct
	o.logs.mu.Lock()
	defer o.logs.mu.Unlock()
	o.logs.send(c.log.file, append(line, '\n'))
}
