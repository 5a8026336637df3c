package health

import (
	"testing"

	"millrace/upstream"
)

// TestWarm: hosts of a cluster that is not in force are checked beside those of the one that is, whose checks go on.
func TestWarm(t *testing.T) {
	t.Parallel()
	addr, status, _ := switched(t)
	other, otherStatus, asked := switched(t)
	otherStatus.Store(503)
	told := &told{}
	s := NewScheduler(told.changed)
	defer s.Close()
	c, st := clusterOf(t, nil, plain, addr), &Stats{}
	round := make(chan bool, 4)
	done := func() { round <- true }
	s.Set(c, st)
	s.FirstRound("web", done)
	<-round
	next := clusterOf(t, c, plain, addr, other)
	h := next.Hosts()[1]
	s.Warm(next, []*upstream.Host{h}, done)
	<-round
	if h.Healthy() || asked.Load() == 0 || st.Failure.Load() != 0 || st.Healthy.Load() != 1 {
		t.Errorf("the host is well: %v; %d checks of it, %d failures of the cluster in force", h.Healthy(), asked.Load(), st.Failure.Load())
	}
	otherStatus.Store(200)
	wait(t, "a pass", h.Healthy)
	s.Warm(next, nil, done) // it has no hosts any more
	<-round
	s.Cool("web")
	s.Cool("web")
	if !h.Healthy() || !c.Hosts()[0].Healthy() {
		t.Error("hosts are taken to be ill after Cool")
	}
	status.Store(503)
	wait(t, "a failure in the cluster in force", func() bool { return !c.Hosts()[0].Healthy() })
	s.Warm(next, []*upstream.Host{h}, done) // Close ends it
}
