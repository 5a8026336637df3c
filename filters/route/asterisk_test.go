package route

import "testing"

// TestAsterisk: "OPTIONS *" is routed like "/" and forwarded as it is.
func TestAsterisk(t *testing.T) {
	t.Parallel()
	table := forwardRoute(t, `"prefix": "/"`, `"prefix_rewrite": "/b/"`)
	in := request("OPTIONS a")
	in.Head.SetPath([]byte("*"))
	r := table.Match(in)
	if r == nil {
		t.Fatal("OPTIONS * matches no route")
	}
	if got, changed := r.AppendPath(nil, in.Head); changed {
		t.Errorf("OPTIONS * is rewritten to %q", got)
	}
}
