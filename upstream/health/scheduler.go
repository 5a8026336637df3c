package health

import (
	"context"
	"slices"
	"sync"
	"time"

	"millrace/upstream"
)

const (
	// activeMax bounds the checks under way, of all clusters: each may hold a connection that opens, a goroutine and a
	// buffer of 4 KiB.
	activeMax = 2048
	// What is due within tickMin begins together, which is one wake-up instead of many; with many hosts within
	// tickPerHost for each, up to tickMax. 2,000 checks a second take 4.1 to 4.6 % of a core with 40 ms, 5 to 6 % with 10 ms.
	tickMin     = 5 * time.Millisecond
	tickPerHost = 20 * time.Microsecond
	tickMax     = 40 * time.Millisecond
	// lateAfter is by how much a check is late.
	lateAfter = 100 * time.Millisecond
	// idleWait is how long the scheduler sleeps without anything due. It is woken anyway.
	idleWait = time.Hour
	// failuresMax bounds the messages of loops that wait to be looked at.
	failuresMax = 256
)

// A Scheduler checks the hosts of all clusters.
type Scheduler struct {
	// Stats is known by the process as health_check.
	Stats SchedulerStats

	// Passed, if not nil, hears of checks that passed, on any goroutine. Set before the first Set.
	Passed func(cluster string, host *upstream.Host)

	changed  func(cluster string)
	ctx      context.Context
	cancel   context.CancelFunc
	wake     chan struct{}
	failures chan complaint
	running  sync.WaitGroup
	logs     eventLogs

	mu       sync.Mutex
	clusters map[string]*cluster
	warm     map[string]*cluster // that are not in force yet: see Warm
	due      queue
	active   int
	full     bool      // something is due that has to wait for the end of another check
	sleeping time.Time // until when, unless woken
}

// complaint is of a host that said so in a response.
type complaint struct {
	cluster string
	host    *upstream.Host
}

// NewScheduler returns a scheduler without clusters. changed is called, on any goroutine, when balancing in a cluster has
// to hear of the health of its hosts. Close ends it.
func NewScheduler(changed func(cluster string)) *Scheduler {
	s := &Scheduler{
		changed: changed, wake: make(chan struct{}, 1), failures: make(chan complaint, failuresMax),
		clusters: map[string]*cluster{}, warm: map[string]*cluster{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.logs.lost, s.logs.failed = &s.Stats.EventsLost, &s.Stats.EventsFailed
	s.running.Go(s.run)
	return s
}

// Close ends all checks, those under way too, and waits for them.
func (s *Scheduler) Close() {
	s.mu.Lock()
	s.cancel()
	for _, c := range s.clusters {
		s.end(c)
	}
	for _, c := range s.warm {
		s.end(c)
	}
	s.mu.Unlock()
	s.running.Wait()
	s.logs.close()
}

// Set begins to check the hosts of a cluster, or goes on: hosts that stay keep their state, and while the checks are
// the same ones nothing else happens. Without checks in its config the cluster is removed. st counts.
func (s *Scheduler) Set(c *upstream.Cluster, st *Stats) {
	if c.Config.HealthCheck() == nil {
		s.Remove(c.Name)
		return
	}
	s.mu.Lock()
	cl := s.clusters[c.Name]
	switch {
	case cl == nil:
		cl = newCluster(s.ctx, c, st)
	case cl.does(c):
		cl.shared = c
	default:
		waiting := cl.waiting
		s.end(cl)
		cl = newCluster(s.ctx, c, st)
		cl.waiting = waiting
	}
	s.clusters[c.Name] = cl
	if cl.events == nil {
		cl.events = s.logs.open(c.Config.HealthCheck())
	}
	calls := s.setHosts(cl, c.Hosts())
	s.mu.Unlock()
	call(calls)
}

// SetHosts is for hosts that have changed while the config did not.
func (s *Scheduler) SetHosts(cluster string, hosts []*upstream.Host) {
	s.mu.Lock()
	var calls []func()
	if c := s.clusters[cluster]; c != nil {
		calls = s.setHosts(c, hosts)
	}
	s.mu.Unlock()
	call(calls)
}

// setHosts adds and drops hosts. It returns what is to be called without the lock.
func (s *Scheduler) setHosts(c *cluster, hosts []*upstream.Host) []func() {
	now := time.Now()
	stay := make(map[*upstream.Host]bool, len(hosts))
	for _, h := range hosts {
		stay[h] = true
		if c.hosts[h] == nil {
			s.plan(c.add(h, now))
		}
	}
	for h, hc := range c.hosts {
		if !stay[h] {
			s.due.remove(hc)
			c.drop(hc)
		}
	}
	return c.roundDone()
}

// Remove ends the checks of a cluster. Its hosts are taken to be well from now on.
func (s *Scheduler) Remove(cluster string) {
	s.mu.Lock()
	c := s.clusters[cluster]
	if c == nil {
		s.mu.Unlock()
		return
	}
	changed := false
	for h := range c.hosts {
		changed = h.ReplaceHealth(activeFlags, 0) || changed
	}
	s.end(c)
	delete(s.clusters, cluster)
	calls := c.roundDone()
	s.mu.Unlock()
	call(calls)
	if changed {
		s.changed(cluster)
	}
}

// end drops all hosts of a cluster.
func (s *Scheduler) end(c *cluster) {
	c.cancel()
	for _, hc := range c.hosts {
		s.due.remove(hc)
		c.drop(hc)
	}
	s.logs.leave(c.events)
}

// FirstRound calls f once all hosts that a cluster has now have been checked, or are gone. It may do so at once.
func (s *Scheduler) FirstRound(cluster string, f func()) {
	s.mu.Lock()
	var calls []func()
	if c := s.clusters[cluster]; c == nil {
		calls = []func(){f}
	} else {
		c.waiting = append(c.waiting, f)
		calls = c.roundDone()
	}
	s.mu.Unlock()
	call(calls)
}

// roundDone returns whom to tell that all hosts have been checked, if so.
func (c *cluster) roundDone() (calls []func()) {
	if c.unchecked == 0 {
		calls, c.waiting = c.waiting, nil
	}
	return calls
}

func call(list []func()) {
	for _, f := range list {
		f()
	}
}

// Fail tells that a response of a host to a request had x-envoy-immediate-health-check-fail. Loops call it: it does not
// wait.
func (s *Scheduler) Fail(cluster string, host *upstream.Host) {
	if host.Health()&upstream.ExcludedImmediate != 0 {
		return // it has been told
	}
	select {
	case s.failures <- complaint{cluster, host}:
	default: // another response will say the same
		s.ignored()
	}
}

// ignored counts; loops come here one at a time.
func (s *Scheduler) ignored() {
	if s.mu.TryLock() {
		s.Stats.Ignored.Inc()
		s.mu.Unlock()
	}
}

// Reopen opens the event logs anew, after they were moved away.
func (s *Scheduler) Reopen() { s.logs.reopen() }

// run begins checks when they are due.
func (s *Scheduler) run() {
	timer := time.NewTimer(idleWait)
	defer timer.Stop()
	for {
		timer.Reset(s.begin())
		select {
		case <-timer.C:
		case <-s.wake:
		case f := <-s.failures:
			s.passive(f)
		case <-s.ctx.Done():
			return
		}
	}
}

// begin begins what is due. It returns how long to sleep.
func (s *Scheduler) begin() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.full = false
	wait := idleWait
	for len(s.due) > 0 {
		if wait = s.due[0].due.Sub(now); wait > 0 {
			wait = max(wait, min(tickMin+time.Duration(len(s.due))*tickPerHost, tickMax))
			break
		}
		if s.active >= activeMax {
			s.full, wait = true, idleWait
			break
		}
		hc := s.due.next()
		if -wait > lateAfter {
			s.Stats.Late.Inc()
		}
		s.active++
		s.Stats.Active.Set(int64(s.active))
		hc.cluster.stats.Attempt.Inc()
		s.running.Add(1)
		go s.check(hc, hc.probe, now.Add(hc.cluster.timeout))
		wait = idleWait
	}
	s.sleeping = now.Add(wait)
	return wait
}

// check does one check.
func (s *Scheduler) check(hc *hostCheck, p probe, deadline time.Time) {
	defer s.running.Done()
	r := p.check(deadline)
	s.mu.Lock()
	s.active--
	s.Stats.Active.Set(int64(s.active))
	if s.full {
		s.stir()
	}
	c := hc.cluster
	if c.hosts[hc.host] != hc { // it is gone meanwhile
		s.mu.Unlock()
		return
	}
	now := time.Now()
	change, changed := c.record(hc, r, now)
	hc.due = now.Add(c.intervals.next(hc.machine.failed(), change, c.hasTraffic(now)))
	s.plan(hc)
	calls := c.roundDone()
	well := r.Outcome == Passed && !hc.machine.failed()
	s.mu.Unlock()
	if changed {
		s.changed(c.name)
	}
	if well && s.Passed != nil {
		s.Passed(c.name, hc.host)
	}
	call(calls)
}

// passive takes in what a response has said.
func (s *Scheduler) passive(f complaint) {
	s.mu.Lock()
	changed := false
	if c := s.clusters[f.cluster]; c != nil {
		if hc := c.hosts[f.host]; hc != nil {
			_, changed = c.record(hc, Result{Outcome: Passive}, time.Now())
		}
	}
	s.mu.Unlock()
	if changed {
		s.changed(f.cluster)
	}
}

// plan puts a check into the queue, and wakes the scheduler if it would sleep too long.
func (s *Scheduler) plan(hc *hostCheck) {
	s.due.add(hc)
	if hc.due.Before(s.sleeping) && !s.full {
		s.sleeping = hc.due // whoever comes next need not wake it again
		s.stir()
	}
}

func (s *Scheduler) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Clusters returns the names of the clusters that are checked, sorted.
func (s *Scheduler) Clusters() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.clusters {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
