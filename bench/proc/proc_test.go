package proc

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " S 41 2 3 0 -1 4194560 1 2 3 4 17 250 5 6 20 0 1 0 99 1000 10"
	for _, tt := range []struct {
		in   string
		want stat
		ok   bool
	}{
		{"42 (nginx)" + rest, stat{41, 17, 250, 11}, true},
		{"42 (a) b (c))" + rest, stat{41, 17, 250, 11}, true},
		{"42 (nginx) S 41", stat{}, false},
		{"42 nginx S 41", stat{}, false},
		{"42 (x) S x 2 3 0 -1 4194560 1 2 3 4 17 250", stat{}, false},
		{"", stat{}, false},
	} {
		got, err := parseStat(tt.in)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("parseStat(%q) = %+v, %v; want %+v, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
	}
}

func TestParseRollup(t *testing.T) {
	t.Parallel()
	in := "55d000-7ffd000 ---p 00000000 00:00 0    [rollup]\nRss:                1736 kB\nPss:  200 kB\n"
	if n, err := parseRollup(in); n != 1736<<10 || err != nil {
		t.Errorf("parseRollup = %d, %v; want %d, nil", n, err, 1736<<10)
	}
	if _, err := parseRollup("Pss: 200 kB\n"); err == nil {
		t.Error("parseRollup without an Rss line: no error")
	}
}

func TestReadingSince(t *testing.T) {
	t.Parallel()
	a := Reading{exact: time.Second, userTicks: 10, sysTicks: 90}
	b := Reading{exact: 3 * time.Second, userTicks: 60, sysTicks: 240}
	want := CPU{User: 500 * time.Millisecond, System: 1500 * time.Millisecond}
	if got := b.Since(a); got != want {
		t.Errorf("Since = %v, want %v", got, want)
	}
	if got := (Reading{exact: 5}).Since(Reading{exact: 2}); got.Sum() != 3 {
		t.Errorf("Since without ticks = %v, want a sum of 3ns", got)
	}
}

func TestReadingAround(t *testing.T) {
	t.Parallel()
	a := Reading{exact: 5 * time.Second, waited: time.Second}
	b := Reading{exact: 3 * time.Second, reaped: 4 * time.Second, waited: time.Second / 2} // a child ended
	if used, waited := b.Around(a); used != 2*time.Second || waited != 0 {
		t.Errorf("Around = %v, %v; want 2s, 0s", used, waited)
	}
}

func TestPinned(t *testing.T) {
	t.Parallel()
	if got := Pinned("1", []string{"a", "b"}); !slices.Equal(got, []string{"taskset", "-c", "1", "a", "b"}) {
		t.Errorf("Pinned(\"1\") = %q", got)
	}
	if got := Pinned("", []string{"a"}); !slices.Equal(got, []string{"a"}) {
		t.Errorf("Pinned(\"\") = %q", got)
	}
}

func TestReadOwnAccounts(t *testing.T) {
	t.Parallel()
	r, err := ReadCPU(os.Getpid())
	if err != nil || r.exact <= 0 {
		t.Errorf("ReadCPU = %+v, %v; want a positive time", r, err)
	}
	if n, err := ReadRSS(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("ReadRSS = %d, %v; want at least 1 MiB", n, err)
	}
}

func TestGroupStopsEveryProcess(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sleep"); err != nil {
		t.Skip(err)
	}
	var g Group
	var procs []*Proc
	for range 3 {
		p, err := g.Start("sleep", "", "", "sleep", "60")
		if err != nil {
			t.Fatal(err)
		}
		procs = append(procs, p)
	}
	g.StopAll()
	for _, p := range procs {
		if !p.Exited() {
			t.Errorf("process %d still runs after StopAll", p.Pid)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	t.Parallel()
	var tl tail
	_, _ = tl.Write(make([]byte, tailBytesMax))
	_, _ = tl.Write([]byte("the end"))
	if got := tl.String(); len(got) != tailBytesMax || got[len(got)-7:] != "the end" {
		t.Errorf("tail keeps %d bytes ending in %q", len(got), got[len(got)-7:])
	}
}

func TestParseCoreBusy(t *testing.T) {
	t.Parallel()
	text := "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 20 30 1000 2000 40 50 60 0 0\ncpu1 1 1 1 1000 1 1 1 1 0 0\nintr 5\n"
	for _, tt := range []struct {
		cores []int
		want  time.Duration
		ok    bool
	}{
		{[]int{0}, 2100 * time.Millisecond, true},
		{[]int{0, 1}, 2160 * time.Millisecond, true},
		{[]int{2}, 0, false},
	} {
		if got, err := parseCoreBusy(text, tt.cores); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("parseCoreBusy(%v) = %v, %v; want %v, ok %v", tt.cores, got, err, tt.want, tt.ok)
		}
	}
	if _, err := parseCoreBusy("cpu0 a b c d e f g h\n", []int{0}); err == nil {
		t.Error("parseCoreBusy of letters: no error")
	}
}
