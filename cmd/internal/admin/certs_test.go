package admin

import (
	"testing"
	"time"
)

func TestDaysUntil(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, tt := range []struct {
		left time.Duration
		want int64
	}{{-day, 0}, {-1, 0}, {0, 0}, {day - 1, 0}, {day, 1}, {365*day + time.Hour, 365}} {
		if got := daysUntil(epoch.Add(tt.left), epoch); got != tt.want {
			t.Errorf("daysUntil(%v from now) = %d, want %d", tt.left, got, tt.want)
		}
	}
}
