package health

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"millrace/upstream"
)

const (
	// grpcPath is where the health of a gRPC server is asked for.
	grpcPath = "/grpc.health.v1.Health/Check"
	// grpcServing is the status of a service that is well.
	grpcServing = 1
	// grpcMessageMax bounds the answer, in bytes. One with a single enum has two.
	grpcMessageMax = 4 << 10
	// grpcPrefix is the length of what goes before a message: whether it is compressed, and its length.
	grpcPrefix = 5
)

// newGRPCProbes returns probes that call grpc.health.v1.Health. Two messages of one field each need no generated code.
func newGRPCProbes(cfg *upstream.Config, d *dialer) func(context.Context, *upstream.Host) probe {
	h := cfg.HealthCheck()
	plan := newHTTP2Plan(cfg, d, http.MethodPost, grpcPath)
	plan.header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {userAgent}}
	for i := range h.RequestHeadersToAdd {
		plan.header.Add(h.RequestHeadersToAdd[i].Key, h.RequestHeadersToAdd[i].Value)
	}
	message := make([]byte, grpcPrefix)
	if h.ServiceName != "" {
		message = protowire.AppendTag(message, 1, protowire.BytesType)
		message = protowire.AppendString(message, h.ServiceName)
	}
	binary.BigEndian.PutUint32(message[1:], uint32(len(message)-grpcPrefix))
	plan.body = message
	plan.judge = judgeGRPC
	return plan.probes(d)
}

// judgeGRPC looks at a HealthCheckResponse: whatever is not SERVING is a wrong answer.
func judgeGRPC(resp *http.Response) (Result, error) {
	wrong := Result{Outcome: Wrong, Exclude: resp.Header.Values("x-envoy-immediate-health-check-fail") != nil}
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("content-type"), "application/grpc") {
		return wrong, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, grpcMessageMax))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Result{}, err
	}
	if resp.Trailer.Get("grpc-status") != "0" || !serving(body) {
		return wrong, nil
	}
	return Result{Outcome: Passed, Degraded: resp.Header.Values("x-envoy-degraded") != nil}, nil
}

// serving reports whether a body is one message, not compressed, that says SERVING.
func serving(body []byte) bool {
	if len(body) < grpcPrefix || body[0] != 0 || int64(binary.BigEndian.Uint32(body[1:])) != int64(len(body)-grpcPrefix) {
		return false
	}
	status := uint64(0)
	for m := body[grpcPrefix:]; len(m) > 0; {
		num, kind, n := protowire.ConsumeTag(m)
		if n < 0 {
			return false
		}
		m = m[n:]
		if num == 1 && kind == protowire.VarintType {
			status, _ = protowire.ConsumeVarint(m)
		}
		if n = protowire.ConsumeFieldValue(num, kind, m); n < 0 {
			return false
		}
		m = m[n:]
	}
	return status == grpcServing
}
