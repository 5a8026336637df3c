package l4

import (
	"fmt"
	"net/netip"
	"strings"

	"millrace/filters"
)

// A ChainTable finds the filter chain of a connection. It is immutable: loops share it.
//
// It is a tree with one level for each criterion, in the order of [MatchConfig]. At each level the most specific branch
// that takes the connection is followed, and there is no way back from it: exactly as in Envoy, where a chain with a
// longer prefix hides one with a shorter prefix even from connections that it refuses for another reason. A branch for
// everything is less specific than any other, than "0.0.0.0/0" too.
//
// A lookup costs a map access, or for prefixes a search by halves, for each level that somebody uses, once a connection.
// Guarded by BenchmarkChainTableFind.
type ChainTable struct {
	root   *matchNode
	leaves int
}

// MatchInput is what a connection is matched by: plain data.
type MatchInput struct {
	// Destination and DestinationPort are where the client wanted to go. The zero Addr is a unix socket.
	Destination     netip.Addr
	DestinationPort uint16
	// ServerName is in lower case, or "".
	ServerName string
	// TransportProtocol is "" where nobody has looked.
	TransportProtocol string
	// ApplicationProtocols are in the client's order.
	ApplicationProtocols []string
	// DirectSource is the peer of the socket.
	DirectSource netip.Addr
	// Source and SourcePort are the client.
	Source     netip.Addr
	SourcePort uint16
}

// matchLeavesMax bounds the combinations of all criteria of all chains: a chain with 1,000 names and 1,000 prefixes
// has a million.
const matchLeavesMax = 1 << 20

// A matchLevel is one criterion.
type matchLevel uint8

const (
	levelDestinationPort matchLevel = iota
	levelDestination
	levelServerName
	levelTransport
	levelApplication
	levelDirectSource
	levelSourceType
	levelSource
	levelSourcePort
	levelChain // the end: a chain
)

// A matchNode is where the lookup stands before the criterion of its level. One kind of branch is in use.
type matchNode struct {
	level matchLevel
	chain int32 // at levelChain

	names    map[string]*matchNode
	ports    map[uint16]*matchNode
	prefixes map[netip.Prefix]*matchNode // until the table is complete; then
	ranges   *cidrList                   // these instead
	within   []*matchNode                // the branches of ranges, by index
	any      *matchNode                  // without the criterion
}

// A Problem is what is wrong with the matches of several chains together.
type Problem struct {
	// Chain is the index of the chain, Other that of the one it collides with, or -1.
	Chain, Other int
	// Path of the field in the match of the chain, or "" for the whole.
	Path string
	// Text says what is wrong, Hint what to write instead.
	Text, Hint string
	// Invalid says that the match has not passed Validate, which tells the same with its place.
	Invalid bool
}

// CompileChains makes the table of filter chains from their matches; nil is one without criteria. The table is
// nil if there is a problem. A match that has not passed Validate is one.
func CompileChains(matches []*MatchConfig) (*ChainTable, []Problem) {
	b := matchBuilder{table: &ChainTable{root: newMatchNode(levelDestinationPort)}}
	for i, m := range matches {
		if m == nil {
			m = &MatchConfig{}
		}
		b.add(i, m)
	}
	if len(b.problems) > 0 {
		return nil, b.problems
	}
	b.table.root.seal()
	return b.table, nil
}

// matchBuilder adds chains to a table.
type matchBuilder struct {
	table    *ChainTable
	problems []Problem
	chain    int
	crossed  map[int]bool // chains this one was reported to collide with
}

// matchKeys are the criteria of one chain, in the form of the table. An empty list is no criterion.
type matchKeys struct {
	destinationPort                  []uint16
	sourcePorts                      []uint16
	destination, direct, source      []netip.Prefix
	names, transport, protocol, kind []string
}

func (b *matchBuilder) add(chain int, m *MatchConfig) {
	b.chain, b.crossed = chain, map[int]bool{}
	k, err := newMatchKeys(m)
	if err != nil {
		b.problems = append(b.problems, Problem{Chain: chain, Other: -1, Text: err.Error(), Invalid: true})
		return
	}
	if n := k.combinations(); n > matchLeavesMax-b.table.leaves {
		b.problems = append(b.problems, Problem{
			Chain: chain, Other: -1,
			Text: fmt.Sprintf("%d combinations of criteria, with %d of the chains before, exceed the %d of a listener",
				n, b.table.leaves, matchLeavesMax),
			Hint: "give fewer names, prefixes and ports, or spread them over several chains",
		})
		return
	}
	b.insert(b.table.root, &k)
}

func newMatchKeys(m *MatchConfig) (k matchKeys, err error) {
	if m.DestinationPort != 0 {
		k.destinationPort = []uint16{m.DestinationPort}
	}
	k.sourcePorts = m.SourcePorts
	for _, set := range []struct {
		dst  *[]netip.Prefix
		list []string
	}{{&k.destination, m.PrefixRanges}, {&k.direct, m.DirectSourcePrefixRanges}, {&k.source, m.SourcePrefixRanges}} {
		for _, s := range set.list {
			p, err := parseCIDR(s)
			if err != nil {
				return k, err
			}
			*set.dst = append(*set.dst, p)
		}
	}
	for _, name := range m.ServerNames {
		k.names = append(k.names, strings.TrimPrefix(strings.ToLower(name), "*")) // "*.a.b" is ".a.b" in the table
	}
	if m.TransportProtocol != "" {
		k.transport = []string{m.TransportProtocol}
	}
	k.protocol = m.ApplicationProtocols
	if m.SourceType != "" && m.SourceType != sourceAny {
		k.kind = []string{m.SourceType}
	}
	return k, nil
}

// combinations returns how many ends of the tree the chain has.
func (k *matchKeys) combinations() int {
	n := 1
	for _, list := range []int{
		len(k.destination), len(k.names), len(k.protocol), len(k.direct), len(k.source), len(k.sourcePorts),
	} {
		if n *= max(list, 1); n > matchLeavesMax {
			return n
		}
	}
	return n
}

// insert adds the branches of the chain to n and below.
func (b *matchBuilder) insert(n *matchNode, k *matchKeys) {
	switch n.level {
	case levelDestinationPort:
		insertKeys(b, n, &n.ports, k.destinationPort, k)
	case levelDestination:
		insertKeys(b, n, &n.prefixes, k.destination, k)
	case levelServerName:
		insertKeys(b, n, &n.names, k.names, k)
	case levelTransport:
		insertKeys(b, n, &n.names, k.transport, k)
	case levelApplication:
		insertKeys(b, n, &n.names, k.protocol, k)
	case levelDirectSource:
		insertKeys(b, n, &n.prefixes, k.direct, k)
	case levelSourceType:
		insertKeys(b, n, &n.names, k.kind, k)
	case levelSource:
		insertKeys(b, n, &n.prefixes, k.source, k)
	case levelSourcePort:
		insertKeys(b, n, &n.ports, k.sourcePorts, k)
	case levelChain:
		b.end(n)
	}
}

// end puts the chain where its criteria lead.
func (b *matchBuilder) end(n *matchNode) {
	other := int(n.chain)
	switch {
	case other < 0:
		n.chain = int32(b.chain)
		b.table.leaves++
	case other != b.chain && !b.crossed[other]:
		b.crossed[other] = true
		b.problems = append(b.problems, Problem{
			Chain: b.chain, Other: other,
			Text: "takes the same connections as another filter chain",
			Hint: "make their matches differ, or leave one of them out",
		})
	}
}

func insertKeys[K comparable](b *matchBuilder, n *matchNode, branches *map[K]*matchNode, keys []K, k *matchKeys) {
	if len(keys) == 0 {
		b.insertAny(n, k)
		return
	}
	if *branches == nil {
		*branches = map[K]*matchNode{}
	}
	for _, key := range keys {
		next := (*branches)[key]
		if next == nil {
			next = newMatchNode(n.level + 1)
			(*branches)[key] = next
		}
		b.insert(next, k)
	}
}

func (b *matchBuilder) insertAny(n *matchNode, k *matchKeys) {
	if n.any == nil {
		n.any = newMatchNode(n.level + 1)
	}
	b.insert(n.any, k)
}

// seal puts the prefixes of n and below into the form that is searched.
func (n *matchNode) seal() {
	if n.prefixes != nil {
		keys := make([]netip.Prefix, 0, len(n.prefixes))
		for p, to := range n.prefixes {
			keys, n.within = append(keys, p), append(n.within, to)
		}
		n.ranges, n.prefixes = cidrListOf(keys), nil
	}
	for _, to := range n.within {
		to.seal()
	}
	for _, to := range n.names {
		to.seal()
	}
	for _, to := range n.ports {
		to.seal()
	}
	if n.any != nil {
		n.any.seal()
	}
}

func newMatchNode(level matchLevel) *matchNode { return &matchNode{level: level, chain: -1} }

// Find returns the index of the chain that takes a connection, or -1.
func (t *ChainTable) Find(in *MatchInput) int {
	n := t.root
	for n != nil && n.level != levelChain {
		n = n.next(in)
	}
	if n == nil {
		return -1
	}
	return int(n.chain)
}

// next follows the most specific branch that takes the connection; nil is none.
func (n *matchNode) next(in *MatchInput) *matchNode {
	var to *matchNode
	switch n.level {
	case levelDestinationPort:
		to = n.ports[in.DestinationPort]
	case levelDestination:
		to = n.byPrefix(in.Destination)
	case levelServerName:
		to = n.byServerName(in.ServerName)
	case levelTransport:
		to = n.byTransport(in.TransportProtocol)
	case levelApplication:
		for i := 0; i < len(in.ApplicationProtocols) && to == nil && n.names != nil; i++ {
			to = n.names[in.ApplicationProtocols[i]]
		}
	case levelDirectSource:
		to = n.byPrefix(in.DirectSource)
	case levelSourceType:
		to = n.bySourceType(in)
	case levelSource:
		to = n.byPrefix(in.Source)
	case levelSourcePort:
		to = n.ports[in.SourcePort]
	case levelChain:
		panic("BUG: l4: a lookup beyond its end")
	}
	if to == nil {
		to = n.any
	}
	return to
}

// byPrefix finds the longest prefix of ip.
func (n *matchNode) byPrefix(ip netip.Addr) *matchNode {
	if n.ranges == nil || !ip.IsValid() {
		return nil
	}
	if i, _ := n.ranges.longestOf(ip); i >= 0 {
		return n.within[i]
	}
	return nil
}

// byServerName finds the name itself, or the longest wildcard above it.
func (n *matchNode) byServerName(name string) *matchNode {
	if n.names == nil || name == "" {
		return nil
	}
	if to := n.names[name]; to != nil && name[0] != '.' {
		return to
	}
	for at := 1; at < len(name); at++ {
		dot := strings.IndexByte(name[at:], '.')
		if dot < 0 {
			return nil
		}
		at += dot
		if to := n.names[name[at:]]; to != nil {
			return to
		}
	}
	return nil
}

// byTransport finds the transport protocol; what nobody has looked at is raw.
func (n *matchNode) byTransport(protocol string) *matchNode {
	if protocol == "" {
		protocol = filters.TransportRaw
	}
	return n.names[protocol]
}

func (n *matchNode) bySourceType(in *MatchInput) *matchNode {
	if n.names == nil {
		return nil
	}
	if in.isLocal() {
		return n.names[sourceLocal]
	}
	return n.names[sourceExternal]
}

// isLocal reports whether the client is on this machine.
func (in *MatchInput) isLocal() bool {
	return !in.Source.IsValid() || in.Source.IsLoopback() || in.Source == in.Destination
}
