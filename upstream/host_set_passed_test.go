package upstream

import (
	"fmt"
	"testing"
)

// TestPassedPriorities: what a retry goes round is shared among the other priorities.
func TestPassedPriorities(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		levels []level
		passed []uint8
		want   string // requests of 100 to the healthy and degraded hosts of each priority
		empty  bool   // the set was emptied
	}{
		{"the first of two", []level{{healthy: 2}, {healthy: 2}}, []uint8{0}, "[0/0 100/0]", false},
		{"the second", []level{{healthy: 2}, {healthy: 2}}, []uint8{1}, "[100/0 0/0]", false},
		{"both", []level{{healthy: 2}, {healthy: 2}}, []uint8{0, 1}, "[100/0 0/0]", true},
		{"the only one", []level{{healthy: 2}}, []uint8{0}, "[100/0]", true},
		{"the middle of three", []level{{healthy: 50, failed: 50}, {healthy: 9}, {healthy: 9}}, []uint8{1}, "[70/0 0/0 30/0]", false},
		{"what is left is weak", []level{{healthy: 4}, {healthy: 25, failed: 75}, {healthy: 25, failed: 75}}, []uint8{0}, "[0/0 50/0 50/0]", false},
		{"what is left is degraded", []level{{healthy: 4}, {degraded: 4}}, []uint8{0}, "[0/0 0/100]", false},
		{"what is left is failed", []level{{healthy: 4}, {failed: 4}}, []uint8{0}, "[100/0 0/0]", true},
		{"rounding", []level{{healthy: 4}, {healthy: 10, failed: 90}, {healthy: 10, failed: 90}, {healthy: 10, failed: 90}}, []uint8{0}, "[0/0 34/0 33/0 33/0]", false},
		{"none", []level{{healthy: 2}, {healthy: 2}}, nil, "[100/0 0/0]", true},
		{"another", []level{{healthy: 2}, {healthy: 2}}, []uint8{77}, "[100/0 0/0]", false},
	} {
		o := testOptions()
		list := members(tt.levels...)
		assignSlots(list, nil)
		hs := newHostSet(list, &o)
		got := make([]string, len(tt.levels))
		counts := make([][2]int, len(tt.levels))
		var passed Priorities
		for random := range uint64(100) {
			passed = Priorities{}
			for _, p := range tt.passed {
				passed.Add(p)
			}
			pick := Pick{Passed: passed}
			b, _ := hs.Choose(random, &pick)
			passed = pick.Passed
			p := hs.PriorityOf(b.Hosts[0])
			counts[p][index(b.Hosts[0].Health().Class() == Degraded)]++
		}
		for i, c := range counts {
			got[i] = fmt.Sprintf("%d/%d", c[0], c[1])
		}
		if fmt.Sprint(got) != tt.want || (passed == Priorities{}) != tt.empty {
			t.Errorf("%s: %v, left %v; want %s", tt.name, got, passed, tt.want)
		}
	}
}
