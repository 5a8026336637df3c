package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	grpcMethod = "/bench.Echo/Unary"
	grpcBlock  = 100         // calls on one way before the other has its turn
	grpcWait   = time.Second // for a call
)

// A GRPCConfig is a row of unary calls, each after the last answer, over one connection through a proxy and one beside
// it. The ways take turns, so that whatever changes on the machine touches both alike.
type GRPCConfig struct {
	Through  int // port of the proxy
	Direct   int // port of the server
	Bytes    int // of a message, there and back
	Duration time.Duration
}

// A GRPCResult holds percentiles in microseconds.
type GRPCResult struct {
	Count     int // of calls on each way
	P50       float64
	P99       float64
	DirectP50 float64
	Elapsed   time.Duration
}

// grpcService is written by hand: one method that gives its message back.
var grpcService = grpc.ServiceDesc{
	ServiceName: "bench.Echo", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		m := new(wrapperspb.BytesValue)
		err := decode(m)
		return m, err
	}}},
}

// ServeGRPC answers calls at a port of the loopback until it fails.
func ServeGRPC(port int) error {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	return newGRPC().Serve(ln)
}

func newGRPC() *grpc.Server {
	s := grpc.NewServer()
	s.RegisterService(&grpcService, struct{}{})
	return s
}

// AskGRPC makes one call.
func AskGRPC(port, size int) error {
	c, err := dialGRPC(port)
	if err != nil {
		return err
	}
	defer c.Close()
	return callGRPC(c, wrapperspb.Bytes(make([]byte, size)))
}

func dialGRPC(port int) (*grpc.ClientConn, error) {
	return grpc.NewClient(fmt.Sprintf("passthrough:///127.0.0.1:%d", port), grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func callGRPC(c *grpc.ClientConn, m *wrapperspb.BytesValue) error {
	ctx, cancel := context.WithTimeout(context.Background(), grpcWait)
	defer cancel()
	var got wrapperspb.BytesValue
	if err := c.Invoke(ctx, grpcMethod, m, &got); err != nil {
		return err
	}
	if len(got.Value) != len(m.Value) {
		return fmt.Errorf("%d bytes came back of %d", len(got.Value), len(m.Value))
	}
	return nil
}

// GRPC makes the calls.
func GRPC(cfg GRPCConfig) (r GRPCResult, err error) {
	m := wrapperspb.Bytes([]byte(strings.Repeat("x", cfg.Bytes)))
	var ways [2]struct {
		conn *grpc.ClientConn
		took []time.Duration
	}
	for i, port := range [...]int{cfg.Through, cfg.Direct} {
		if ways[i].conn, err = dialGRPC(port); err != nil {
			return r, err
		}
		defer ways[i].conn.Close() // two of them, at the end
		if err = callGRPC(ways[i].conn, m); err != nil {
			return r, err
		}
	}
	begin := time.Now()
	for time.Since(begin) < cfg.Duration {
		for i := range ways {
			w := &ways[i]
			for range grpcBlock {
				at := time.Now()
				if err = callGRPC(w.conn, m); err != nil {
					return r, err
				}
				w.took = append(w.took, time.Since(at))
			}
		}
	}
	if len(ways[0].took) == 0 {
		return r, errors.New("no time for a call")
	}
	r.Elapsed, r.Count = time.Since(begin), len(ways[0].took)
	r.P50, r.P99, r.DirectP50 = percentile(ways[0].took, 0.5), percentile(ways[0].took, 0.99), percentile(ways[1].took, 0.5)
	return r, nil
}

// percentile sorts d.
func percentile(d []time.Duration, share float64) float64 {
	slices.Sort(d)
	return float64(d[int(share*float64(len(d)-1))]) / float64(time.Microsecond)
}
