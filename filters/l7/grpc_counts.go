package l7

import (
	"bytes"
	"strconv"
	"sync/atomic"

	"millrace/codec/ascii"
	"millrace/engine/stats"
	"millrace/filters"
)

// grpcMethodsMax is how many methods one loop counts apart; calls of more count for their cluster alone.
const grpcMethodsMax = 1000

// grpcNameMax is the longest name of a service with its method that is counted apart, in bytes.
const grpcNameMax = 256

// grpcCounts counts the calls of gRPC on one loop, by cluster and method:
// cluster.<name>.grpc.<service>.<method>.<what>. All filters of the loop share it.
type grpcCounts struct {
	calls atomic.Pointer[[]*grpcCalls] // replaced, never changed: admin reads it

	// Owned by the loop.
	found   map[string]*grpcCalls
	methods int // how many of them are of a method
	key     []byte
}

// grpcCalls counts the calls of one method, or of all methods, of a cluster.
type grpcCalls struct {
	names   grpcCallNames
	status  [grpcCodes + 1]stats.Counter // the last is any other
	total   stats.Counter
	success stats.Counter
	failure stats.Counter

	requestMessages  stats.Counter
	responseMessages stats.Counter
}

// grpcCallNames are the names of the counters of a grpcCalls, made once.
type grpcCallNames struct {
	status                                                     [grpcCodes + 1]string
	total, success, failure, requestMessages, responseMessages string
}

// newGRPCCounts returns what the loop counts calls in.
func newGRPCCounts(env *filters.Env) *grpcCounts {
	c := stats.Register[grpcCounts](env.Stats, stats.Root("cluster"))
	if c.found == nil {
		c.found = map[string]*grpcCalls{}
	}
	return c
}

// EachStat implements stats.Dynamic.
func (c *grpcCounts) EachStat(yield func(name string, n uint64)) {
	list := c.calls.Load()
	if list == nil {
		return
	}
	for _, m := range *list {
		yield(m.names.total, m.total.Load())
		if m.names.success != "" {
			yield(m.names.success, m.success.Load())
			yield(m.names.failure, m.failure.Load())
		}
		for i := range m.status {
			if n := m.status[i].Load(); n != 0 {
				yield(m.names.status[i], n)
			}
		}
		if n := m.requestMessages.Load(); n != 0 {
			yield(m.names.requestMessages, n)
		}
		if n := m.responseMessages.Load(); n != 0 {
			yield(m.names.responseMessages, n)
		}
	}
}

// of returns the counters of a method of a cluster; protocol is "grpc" or "grpc-web". Without a method, with one that is no name,
// and beyond grpcMethodsMax they are those of the cluster.
func (c *grpcCounts) of(cluster, protocol string, service, method []byte) *grpcCalls {
	named := len(method) > 0 && len(service)+len(method) < grpcNameMax && isGRPCName(service) && isGRPCName(method)
	if named {
		key := append(append(c.begin(cluster, protocol), service...), '.')
		c.key = append(append(key, method...), '.')
		if m := c.found[string(c.key)]; m != nil {
			return m
		}
		if c.methods < grpcMethodsMax {
			c.methods++
			return c.add(true)
		}
	}
	c.key = c.begin(cluster, protocol)
	if m := c.found[string(c.key)]; m != nil {
		return m
	}
	return c.add(protocol != "grpc") // of a cluster, the router counts those
}

// begin begins the names of a cluster's counters.
func (c *grpcCounts) begin(cluster, protocol string) []byte {
	key := append(append(c.key[:0], cluster...), '.')
	for i := range key {
		if key[i] == ':' || key[i] < ' ' || key[i] == 0x7f { // as stats.Scope does
			key[i] = '_'
		}
	}
	return append(append(key, protocol...), '.')
}

// add makes the counters whose names begin with key, with success and failure or without.
func (c *grpcCounts) add(outcome bool) *grpcCalls {
	prefix := string(c.key)
	m := &grpcCalls{}
	n := &m.names
	n.total = prefix + "total"
	if outcome {
		n.success, n.failure = prefix+"success", prefix+"failure"
	}
	n.requestMessages, n.responseMessages = prefix+"request_message_count", prefix+"response_message_count"
	for i := range n.status {
		n.status[i] = prefix + strconv.Itoa(i)
	}
	n.status[grpcCodes] = prefix + "other"
	c.found[prefix] = m
	var list []*grpcCalls
	if old := c.calls.Load(); old != nil {
		list = *old
	}
	list = append(list[:len(list):len(list)], m)
	c.calls.Store(&list)
	return m
}

// count counts a call that ended with a status.
func (m *grpcCalls) count(code int64) {
	m.total.Inc()
	if code == grpcOK {
		m.success.Inc()
	} else {
		m.failure.Inc()
	}
	if code < 0 || code >= grpcCodes {
		code = grpcCodes
	}
	m.status[code].Inc()
}

// isGRPCName reports whether a text can be a part of the name of a service or a method.
func isGRPCName(b []byte) bool {
	for _, c := range b {
		if !ascii.Is(c, ascii.Token) {
			return false
		}
	}
	return len(b) > 0
}

// cutGRPCPath cuts a path "/package.Service/Method" in two; method is nil if it is none.
func cutGRPCPath(path []byte) (service, method []byte) {
	path, _, _ = bytes.Cut(path, []byte{'?'})
	if len(path) == 0 || path[0] != '/' {
		return nil, nil
	}
	service, method, _ = bytes.Cut(path[1:], []byte{'/'})
	if bytes.IndexByte(method, '/') >= 0 {
		return nil, nil
	}
	return service, method
}
