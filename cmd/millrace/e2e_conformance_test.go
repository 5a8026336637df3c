package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// conformanceSuites are those of bench/conformance that a test has the time for; make conformance runs all of them.
const conformanceSuites = "^(grpc|connect|connect-to-http1|grpc-web-filter)$"

// TestConformance: the Connect project's suite passes through the proxy, with the protocols gRPC, gRPC-Web and Connect.
func TestConformance(t *testing.T) {
	t.Parallel()
	peers := filepath.Dir(goPeer(t, "connectconformance"))
	goPeer(t, "connectconformance-referenceserver")
	goPeer(t, "connectconformance-grpcserver")
	runner := filepath.Join(t.TempDir(), "conformance")
	if out, err := exec.Command("go", "build", "-o", runner, "millrace/bench/conformance").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*waitMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, runner, "-millrace", binary, "-peers", peers, "-run", conformanceSuites)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), " 0 failed") != 4 {
		t.Errorf("%v\n%s", err, out)
	}
}
