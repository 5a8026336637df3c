package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// browserPage does in a browser what the test is about, and sends what came of it to /result.
const browserPage = `<!doctype html><title>millrace</title><link rel="stylesheet" href="/style.css"><p id="text">page</p><script>
const result = {};
const socket = () => new Promise((done, fail) => {
  const s = new WebSocket('wss://' + location.host + '/chat');
  s.binaryType = 'arraybuffer';
  s.onopen = () => s.send(new Uint8Array(100000).fill(7));
  s.onmessage = (m) => { result.socket = m.data.byteLength; s.close(3000); };
  s.onclose = (c) => { result.closed = c.code; done(); };
  s.onerror = () => fail('WebSocket');
});
(async () => {
  try {
    result.protocol = performance.getEntriesByType('navigation')[0].nextHopProtocol;
    result.style = getComputedStyle(document.getElementById('text')).color;
    await Promise.all([...Array(20).keys()].map(async (i) => {
      if (await (await fetch('/number/' + i)).text() !== String(i)) throw 'number ' + i;
    }));
    await socket();
    const call = await fetch('/shop.Orders/Get', {method: 'POST', headers: {'Content-Type': 'application/grpc-web-text', 'X-Grpc-Web': '1'}, body: '%s'});
    result.type = call.headers.get('Content-Type');
    result.call = await call.text();
  } catch (e) { result.failed = String(e); }
  await fetch('/result', {method: 'POST', body: JSON.stringify(result)});
})();
</script>`

// trustIn makes a home directory in which browsers trust the authority.
func (a *authority) trustIn(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	db := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(db, 0o700); err != nil {
		t.Fatal(err)
	}
	certutil := lookPeer(t, "certutil")
	output(t, certutil, "-d", "sql:"+db, "-N", "--empty-password")
	output(t, certutil, "-d", "sql:"+db, "-A", "-t", "C,,", "-n", "test", "-i", a.path("ca.crt"))
	return home
}

// TestTLSBrowser: Chromium, which trusts the test's authority, loads a page over HTTP/2, opens a WebSocket over it and calls gRPC.
func TestTLSBrowser(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed: make browser installs it as root")
	}
	a := newAuthority(t)
	home := a.trustIn(t)
	a.issue("shop", "localhost")
	d := orderType{orders()}
	request := base64.StdEncoding.EncodeToString([]byte(grpcFrame(t, 0, marshal(t, d.order(`{"id": "a", "count": 2}`)))))
	results := make(chan string, 1)
	host := origin(t, func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case path == "/":
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprintf(w, browserPage, request)
		case path == "/style.css":
			w.Header().Set("Content-Type", "text/css")
			_, _ = io.WriteString(w, "p { color: rgb(1, 2, 3) }")
		case path == "/result":
			b, _ := io.ReadAll(r.Body)
			results <- string(b)
		case strings.HasPrefix(path, "/number/"):
			_, _ = io.WriteString(w, path[len("/number/"):])
		default:
			http.NotFound(w, r)
		}
	})
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 2, "listeners": [{"name": "edge", "address": "127.0.0.1:0", "stat_prefix": "edge",
 "tls": {"certificates": [%s], "alpn": ["h2", "http/1.1"]}, "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e", %s,
 "http_filters": [{"name": "grpc_web"}, {"name": "router"}], "route_config": {"routes": [
  {"match": {"prefix": "/shop.Orders/"}, "route": {"cluster": "orders"}}, {"match": {"path": "/chat"}, "route": {"cluster": "chat"}},
  {"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}}}]}],
 "clusters": [{"name": "web", "hosts": [%q]}, {"name": "chat", "hosts": [%q]}, {"name": "orders", "protocol": "http2", "hosts": [%q]}]}`,
		a.pair("shop"), webSockets, host, startWSOrigin(t), startOrders(t)))
	peer(t, "env", "HOME="+home, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir="+filepath.Join(home, "data"), "https://localhost:"+p.port()+"/")
	var result struct {
		Protocol, Style, Type, Call, Failed string
		Socket, Closed                      int
	}
	select {
	case text := <-results:
		if err := json.Unmarshal([]byte(text), &result); err != nil {
			t.Fatal(err)
		}
	case <-time.After(3 * waitMax):
		t.Fatal("the page has not sent its result")
	}
	if result.Failed != "" || result.Protocol != "h2" || result.Style != "rgb(1, 2, 3)" {
		t.Errorf("the page: %+v", result)
	}
	if result.Socket != 100000 || result.Closed != 3000 {
		t.Errorf("the WebSocket: %d bytes, closed with %d", result.Socket, result.Closed)
	}
	if got := strings.Join(webFrames(t, d, decodeGroups(t, result.Call)), " "); result.Type != "application/grpc-web-text+proto" ||
		!strings.HasPrefix(got, `{"id":"a","count":2} grpc-status:0`) {
		t.Errorf("the call: %s %q", result.Type, got)
	}
	if n := p.stat("http.e2e.downstream_cx_http1_total"); n != 0 {
		t.Errorf("%d connections of HTTP/1.1: the WebSocket has one of its own", n)
	}
	if p.stat("listener.edge.ssl.curves.X25519MLKEM768") == 0 || p.stat("listener.edge.ssl.versions.TLSv1.3") == 0 {
		t.Errorf("no post-quantum key exchange: %s", p.adminGet("/stats?filter=^listener.edge.ssl."))
	}
}
