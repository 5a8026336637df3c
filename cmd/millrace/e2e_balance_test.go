package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// namedOrigins starts n origins that answer with their number.
func namedOrigins(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for i := range n {
		addrs = append(addrs, origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, i) }))
	}
	return addrs
}

// balanced starts a proxy with one cluster and one route.
func balanced(t *testing.T, cluster, route string) *proxy {
	t.Helper()
	return startProxy(t, `{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"`+route+`}}]}}}]}],
		"clusters": [{"name": "c", `+cluster+`}]}`)
}

// who returns which origin answers, and the cookie that came with it.
func (p *proxy) who(fields ...string) (host, cookie string) {
	p.t.Helper()
	req, err := http.NewRequest("GET", p.url("/"), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		p.t.Fatalf("status %d, %v", res.StatusCode, err)
	}
	return string(body), res.Header.Get("Set-Cookie")
}

// TestHashPolicies: the same header, and the cookie that the first response sets, lead to the same host; users are spread.
func TestHashPolicies(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"ring_hash", "maglev"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			addrs := namedOrigins(t, 3)
			p := balanced(t, `"lb_policy": "`+policy+`", "hosts": ["`+strings.Join(addrs, `", "`)+`"]`, `, "hash_policy": [
				{"header": {"header_name": "x-user"}, "terminal": true}, {"cookie": {"name": "to", "ttl": "1h"}}]`)
			got := map[string]int{}
			for user := range 60 {
				field := fmt.Sprintf("x-user: user-%d", user)
				first, cookie := p.who(field)
				if cookie != "" {
					t.Fatalf("Set-Cookie %q for a request that has a hash", cookie)
				}
				for range 3 {
					if again, _ := p.who(field); again != first {
						t.Fatalf("user %d was at host %s and then at %s", user, first, again)
					}
				}
				got[first]++
			}
			if len(got) != 3 {
				t.Errorf("60 users are on %d of 3 hosts: %v", len(got), got)
			}
			first, cookie := p.who()
			pair, rest, _ := strings.Cut(cookie, ";")
			if !strings.HasPrefix(pair, `to="`) || rest != " Max-Age=3600; HttpOnly" {
				t.Fatalf("Set-Cookie: %s", cookie)
			}
			for range 5 {
				if again, another := p.who("Cookie: " + pair); again != first || another != "" {
					t.Errorf("with the cookie: host %s, Set-Cookie %q; want host %s and no other cookie", again, another, first)
				}
			}
		})
	}
}

// TestPriorities: hosts of the next priority get nothing while the first is well, and a reload may turn them around.
func TestPriorities(t *testing.T) {
	t.Parallel()
	addrs := namedOrigins(t, 2)
	hosts := func(first, second int) string {
		return fmt.Sprintf(`"hosts": [{"address": %q, "priority": %d}, {"address": %q, "priority": %d}]`, addrs[0], first, addrs[1], second)
	}
	p := balanced(t, hosts(0, 1), "")
	for range 10 {
		if host, _ := p.who(); host != "0" {
			t.Fatalf("host %s of priority 1 got a request", host)
		}
	}
	config := `{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
		"clusters": [{"name": "c", ` + hosts(1, 0) + `}]}`
	p.write(config)
	p.hup()
	for range 10 {
		if host, _ := p.who(); host != "1" {
			t.Fatalf("after the reload host %s of priority 1 got a request", host)
		}
	}
}
