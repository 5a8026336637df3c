package admin

import (
	"context"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestRequiredLiteral(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]string{
		"":                      "",
		"abc":                   "abc",
		"^cluster\\.web\\.":     "cluster.web.",
		"a.*bcd.e":              "bcd",
		"(rq_(total|active))+$": "rq_",
		"(?i)abc":               "",
		"abc|def":               "",
		"(abc)?d":               "d",
		"(abc)*":                "",
		"(abc){0,3}x":           "x",
		"[ab]cd":                "cd",
	} {
		if got := requiredLiteral(expr); got != want {
			t.Errorf("requiredLiteral(%q) = %q, want %q", expr, got, want)
		}
	}
}

// FuzzRequiredLiteral: what an expression matches contains its literal.
func FuzzRequiredLiteral(f *testing.F) {
	for _, seed := range [][2]string{{"a(b|c)+d", "xabcd"}, {"(?i)ab", "AB"}, {"a{2,}b", "aaab"}, {"(?s:.)x\\b", "\nx"}, {"\u212a", "k"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, expr, name string) {
		re, err := regexp.Compile(expr)
		if err != nil || len(expr) > filterBytesMax {
			return
		}
		if lit := requiredLiteral(expr); re.MatchString(name) && !strings.Contains(name, lit) {
			t.Errorf("%q matches %q, which does not contain %q", expr, name, lit)
		}
	})
}

// TestReaderGone: a walk that finds nothing to write still ends when its reader has left.
func TestReaderGone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequest("GET", "/stats?filter=x", nil).WithContext(ctx)
	if err := readParams(r, false); err != nil {
		t.Fatal(err)
	}
	q, err := newStatsQuery(r)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * goneEvery {
		if q.gone() {
			t.Fatal("gone with the reader still there")
		}
	}
	cancel()
	for range goneEvery {
		if q.gone() {
			return
		}
	}
	t.Error("not gone after the reader has left")
}
