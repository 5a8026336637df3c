package filters

import (
	"strings"
	"testing"
)

func TestRateLimitEntryValidate(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", rateLimitTextMax)
	for _, tt := range []struct {
		entry RateLimitEntry
		want  string
	}{
		{RateLimitEntry{Key: long, Value: long}, ""},
		{RateLimitEntry{Key: long + "x", Value: "v"}, "key: text of 257 bytes exceeds 256"},
		{RateLimitEntry{Key: "k", Value: long + "x"}, "value: text of 257 bytes exceeds 256"},
	} {
		got := ""
		tt.entry.Validate(func(path, problem, _ string) { got += path + ": " + problem })
		if got != tt.want {
			t.Errorf("Validate = %q; want %q", got, tt.want)
		}
	}
}

func TestRateLimitAnswer(t *testing.T) {
	t.Parallel()
	for answer, want := range map[RateLimitAnswer]string{RateLimitOK: "ok", RateLimitOver: "over_limit", RateLimitError: "error", 9: "error"} {
		if answer.String() != want {
			t.Errorf("%d is %q, want %q", answer, answer, want)
		}
	}
}
