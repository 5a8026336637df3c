package health

import (
	"testing"
	"time"

	"millrace/upstream"
)

// Results by letter: P passes, D passes degraded, n network, t timeout, W wrong, r wrong but retriable, X wrong and
// excluded, v a response of the data path.
var letters = map[rune]Result{
	'P': {Outcome: Passed}, 'D': {Outcome: Passed, Degraded: true}, 'n': {Outcome: Network}, 't': {Outcome: Timeout},
	'W': {Outcome: Wrong}, 'r': {Outcome: Wrong, Retriable: true}, 'X': {Outcome: Wrong, Exclude: true}, 'v': {Outcome: Passive},
}

const (
	failed   = upstream.FailedActiveCheck
	timeout  = upstream.ActiveCheckTimeout
	excluded = upstream.ExcludedImmediate
	pending  = upstream.PendingActiveCheck
	degraded = upstream.DegradedActiveCheck
)

// TestMachine: after each result, what changed ('.' nothing, '?' pending, '!' changed), and the flags at the end.
func TestMachine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in, want string
		begin, end     upstream.HealthFlag
	}{
		{"the first check passes", "P", "!", failed, 0},
		{"the first check fails, then healthy_threshold counts", "nPP", ".?!", failed, 0},
		{"a failure in between begins anew", "nPnPP", ".?.?!", failed, 0},
		{"network failures count", "Pnn", "!??", failed, 0},
		{"at the threshold", "Pnnn", "!??!", failed, failed},
		{"a pass in between begins anew", "PnnPnn", "!??.??", failed, 0},
		{"a wrong answer counts at once", "PW", "!!", failed, failed},
		{"a retriable one does not", "Prr", "!??", failed, 0},
		{"retriable and network count together", "Prnr", "!??!", failed, failed},
		{"more failures change nothing", "PWWn", "!!..", failed, failed},
		{"timeout is told", "Pttt", "!??!", failed, failed | timeout},
		{"the last failure says whether it was a timeout", "Ptttn", "!??!.", failed, failed},
		{"and the other way round", "PWt", "!!.", failed, failed | timeout},
		{"timeout is forgotten when the host is well", "PtttPP", "!??!?!", failed, 0},
		{"a new host that times out", "t", ".", failed, failed | timeout},
		{"pending ends with the first result", "n", "!", failed | pending, failed},
		{"or when it passes", "P", "!", failed | pending, 0},
		{"degraded", "D", "!", failed, degraded},
		{"degraded and back", "DDP", "!.!", failed, 0},
		{"degraded later", "PD", "!!", failed, degraded},
		{"degraded on the way up is told at the end", "PWDD", "!!?!", failed, degraded},
		{"degraded is kept while ill", "DW", "!!", failed, degraded | failed},
		{"immediate failure", "PX", "!!", failed, failed | excluded},
		{"immediate failure of a host that is ill already", "PWX", "!!!", failed, failed | excluded},
		{"excluded until well", "PXPP", "!!?!", failed, 0},
		{"the data path says so", "Pv", "!!", failed, failed | excluded},
		{"and once more", "Pvv", "!!.", failed, failed | excluded},
		{"before the first check", "vP", "!?", failed, failed | excluded},
		{"a host that was well before there were checks", "P", ".", 0, 0},
		{"and fails", "n", "?", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			play(t, rules{unhealthy: 3, healthy: 2}, tt.in, tt.want, tt.begin, tt.end)
		})
	}
}

// play records results and compares what came of them.
func play(t *testing.T, by rules, in, want string, begin, end upstream.HealthFlag) {
	t.Helper()
	m, got := newMachine(begin), ""
	for _, r := range in {
		got += [...]string{".", "?", "!"}[m.record(letters[r], &by)]
	}
	if got != want || m.flags != end {
		t.Errorf("%s gives %s and flags %b; want %s and %b", in, got, m.flags, want, end)
	}
}

func TestMachineThresholdOne(t *testing.T) {
	t.Parallel()
	play(t, rules{unhealthy: 1, healthy: 1}, "PnPtW", "!!!!.", failed, failed)
}

// TestMachineAverage: H is the mean of the last 4 results, or of those so far; the host is ill while H is below a half.
func TestMachineAverage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in, want string
		end            upstream.HealthFlag
	}{
		{"the first check decides", "P", "!", 0},                // 1
		{"or fails", "n", ".", failed},                          // 0
		{"half is enough", "nP", ".!", 0},                       // 1/2
		{"a wrong answer is one of several", "PW", "!?", 0},     // 1/2
		{"below", "PWW", "!?!", failed},                         // 1/3
		{"the window moves", "PPPPnnn", "!...??!", failed},      // 1/4
		{"and back", "PPPPnnnP", "!...??!?", failed},            // 1/4
		{"until half have passed", "PPPPnnnPP", "!...??!?!", 0}, // 2/4
		{"timeout", "ttt", "...", failed | timeout},             // 0
		{"the data path outweighs all", "PPPPv", "!...!", failed | excluded},
		{"and has to be made good", "PPPPvPP", "!...!?!", 0},
		{"one in two for ever", "PnPnPnPn", "!?.?.?.?", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			play(t, rules{window: 4, threshold: 0.5}, tt.in, tt.want, failed, tt.end)
		})
	}
}

// TestMachineAverageMean compares with the mean computed the long way, for the widest window.
func TestMachineAverageMean(t *testing.T) {
	t.Parallel()
	by := rules{window: 64, threshold: 0.75}
	m := newMachine(failed)
	var all []bool
	seed := uint32(7)
	for range 2000 {
		seed = seed*1664525 + 1013904223
		ok := seed>>24 < 190
		all = append(all, ok)
		all = all[max(0, len(all)-64):]
		r := Result{Outcome: Network}
		if ok {
			r.Outcome = Passed
		}
		m.record(r, &by)
		sum := 0
		for _, b := range all {
			if b {
				sum++
			}
		}
		if want := float64(sum)/float64(len(all)) < 0.75; m.failed() != want {
			t.Fatalf("%d of %d passed: failed = %t", sum, len(all), m.failed())
		}
	}
}

func TestIntervals(t *testing.T) {
	t.Parallel()
	plain := upstream.DefaultHealthCheckConfig("tcp")
	plain.Interval, plain.NoTrafficInterval = 1*time.Second, 60*time.Second
	full := plain
	full.UnhealthyInterval, full.UnhealthyEdgeInterval, full.HealthyEdgeInterval, full.NoTrafficHealthyInterval = 2, 3, 4, 5
	inherited := plain
	inherited.UnhealthyInterval = 7
	for _, tt := range []struct {
		name            string
		cfg             *upstream.HealthCheckConfig
		failed, traffic bool
		change          Change
		want            time.Duration
	}{
		{"well", &plain, false, true, Unchanged, time.Second},
		{"ill", &plain, true, true, Changed, time.Second},
		{"ill by itself", &full, true, true, Unchanged, 2},
		{"becoming ill", &full, false, true, Pending, 3},
		{"becoming ill is as ill", &inherited, false, true, Pending, 7},
		{"becoming well", &full, true, true, Pending, 4},
		{"becoming well is as well", &inherited, true, true, Pending, time.Second},
		{"quiet", &plain, false, false, Unchanged, time.Minute},
		{"quiet and well", &full, false, false, Changed, 5},
		{"quiet, becoming ill", &full, false, false, Pending, time.Minute},
		{"quiet and ill", &full, true, false, Unchanged, time.Minute},
	} {
		iv := newIntervals(tt.cfg)
		if got := iv.base(tt.failed, tt.change == Pending, tt.traffic); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	jittered := plain
	jittered.IntervalJitter, jittered.IntervalJitterPercent = 100*time.Millisecond, 50
	iv := newIntervals(&jittered)
	var least, most time.Duration = time.Hour, 0
	for range 1000 {
		d := iv.next(false, Unchanged, true)
		least, most = min(least, d), max(most, d)
	}
	if least < time.Second || least > 1100*time.Millisecond || most > 1600*time.Millisecond || most < 1400*time.Millisecond {
		t.Errorf("1s with 50 %% and 100ms of jitter is between %v and %v", least, most)
	}
	if d := (&intervals{}).next(false, Unchanged, true); d != intervalMin {
		t.Errorf("the least interval is %v, want %v", d, intervalMin)
	}
}
