package admin

import "testing"

func TestQuantity(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 12: "12", 2.5: "2500m", 0.001: "1m", 1.9999: "2", 1e9: "1000000000"} {
		if got := quantity(v); got != want {
			t.Errorf("quantity(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestSelector(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"cluster": "shop", "metric": "active_requests"}
	for text, want := range map[string]bool{
		"": true, "cluster=shop": true, "cluster==shop, metric!=x": true, "cluster=api": false, "cluster!=shop": false, "other!=x": true,
		"cluster in (api, shop),metric": true, "cluster notin (api,shop)": false, "other notin (a)": true, "other in (a)": false,
		"!other": true, "!cluster": false, "cluster": true, "metric,cluster in (shop),!x": true,
	} {
		s, err := parseSelector(text)
		if err != nil || s.matches(labels) != want {
			t.Errorf("%q: %v, %v, want %v", text, s.matches(labels), err, want)
		}
	}
	for _, text := range []string{"a in", "a in (b", "a of (b)", "a b", "=x", "a=b=c", ")(", "a in )b(", "!", ",", "a=b c"} {
		if s, err := parseSelector(text); err == nil {
			t.Errorf("%q is %+v, want an error", text, s)
		}
	}
}
