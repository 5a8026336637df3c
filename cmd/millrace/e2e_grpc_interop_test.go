package main

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// interopCases are the cases of the gRPC project's own client that need neither TLS nor accounts.
var interopCases = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
	"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
	"special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service",
}

// interopTries are the cases that may be tried again, and how often. The one has a deadline of a millisecond, which client
// and server both watch: when the server's clock is first, it resets the stream, and the client hears of that instead.
var interopTries = map[string]int{"timeout_on_sleeping_server": 10}

// TestGRPCInterop: the gRPC project's client and server understand each other through the proxy, in every case.
func TestGRPCInterop(t *testing.T) {
	t.Parallel()
	client, server := goPeer(t, "grpc-interop-client"), goPeer(t, "grpc-interop-server")
	port := freePort(t)
	cmd := exec.Command(server, fmt.Sprintf("--port=%d", port), "--use_tls=false")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	host := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	waitListening(t, host)
	p := startProxy(t, oneRoute(host, "", `"timeout": "0s"`, `"protocol": "http2"`))
	for _, name := range interopCases {
		out, ok := "", false
		for try := 0; !ok && try < interopTries[name]+1; try++ {
			var err error
			out, err = run(t, client, "--server_host=127.0.0.1", "--server_port="+p.port(), "--use_tls=false", "--test_case="+name)
			ok = err == nil && !strings.Contains(out, "FATAL")
		}
		if !ok {
			t.Errorf("%s:\n%s", name, out)
		}
	}
	p.wantQuiet()
	if n := p.stat("cluster.web.upstream_cx_http2_total"); n == 0 {
		t.Error("no connection of HTTP/2 to the server was counted")
	}
}
