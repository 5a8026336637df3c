package route

import (
	"bytes"
	"slices"
	"strings"

	"millrace/codec/ascii"
)

// indexMin is the number of routes from which a virtual host has an index.
// Below it a scan is as fast: BenchmarkIndexMin.
const indexMin = 12

// noRoute is above every index of a route.
const noRoute = ^uint32(0)

// pathIndex finds the routes of one virtual host whose path fits, without
// looking at the others. The order of the configuration is kept: every list of
// candidates is ascending, and of all that match the least wins.
type pathIndex struct {
	exact  trie     // routes that compare letters exactly
	folded trie     // routes that do not; its keys are lower case
	rest   []uint32 // routes without a text to index: regular expressions, CONNECT
}

// newPathIndex makes the index of routes, of which the first is route first of
// the table; nil if they are too few.
func newPathIndex(routes []Route, first uint32) *pathIndex {
	if len(routes) < indexMin {
		return nil
	}
	var x pathIndex
	var exact, folded []trieKey
	for i := range routes {
		m, route := &routes[i].path, first+uint32(i)
		switch {
		case m.kind >= pathRegex:
			x.rest = append(x.rest, route)
		case m.fold:
			folded = append(folded, trieKey{m.text, newTrieEntry(route, m.kind)})
		default:
			exact = append(exact, trieKey{m.text, newTrieEntry(route, m.kind)})
		}
	}
	x.exact, x.folded = newTrie(exact), newTrie(folded)
	return &x
}

// lookup returns the first route that matches, or nil.
func (x *pathIndex) lookup(t *Table, in *Input, path []byte) *Route {
	best := x.exact.first(t, in, path, false, noRoute)
	if x.folded.nodes != nil {
		best = x.folded.first(t, in, path, true, best)
	}
	for _, i := range x.rest {
		if i >= best {
			break
		}
		if r := &t.routes[i]; r.path.fits(in.Head, path) && t.conditionsHold(r, in) {
			best = i
			break
		}
	}
	if best == noRoute {
		return nil
	}
	return &t.routes[best]
}

// trie is a radix trie over the texts of routes, flat and without pointers. The
// children of a node lie together.
type trie struct {
	nodes   []trieNode // nil if the trie is empty; the first is the root, whose label is empty
	heads   []byte     // heads[i] is the first byte of the label of nodes[i]
	labels  string
	entries []trieEntry
}

type trieNode struct {
	label, labelLen uint32 // in labels
	child, children uint32 // in nodes
	entry, entryEnd uint32 // in entries: routes whose text ends at this node
	least           uint32 // smallest route here and below
}

// trieEntry is a route and how it compares the path: route<<2 | kind.
type trieEntry uint32

func newTrieEntry(route uint32, kind pathKind) trieEntry { return trieEntry(route<<2 | uint32(kind)) }

func (e trieEntry) route() uint32  { return uint32(e) >> 2 }
func (e trieEntry) kind() pathKind { return pathKind(e & 3) }

// first returns the smallest route below best that matches, or best.
func (x *trie) first(t *Table, in *Input, path []byte, fold bool, best uint32) uint32 {
	if x.nodes == nil {
		return best
	}
	n, rest := &x.nodes[0], path
	for n.least < best {
		for _, e := range x.entries[n.entry:n.entryEnd] {
			if e.route() >= best {
				break
			}
			if !e.fits(rest) {
				continue
			}
			r := &t.routes[e.route()]
			if r.condEnd == r.condFirst || t.conditionsHold(r, in) {
				best = e.route()
				break
			}
		}
		if len(rest) == 0 || n.children == 0 {
			break
		}
		if n = x.step(n, rest, fold); n == nil {
			break
		}
		rest = rest[n.labelLen:]
	}
	return best
}

// fits reports whether a route whose text was consumed takes what is left of the path.
func (e trieEntry) fits(rest []byte) bool {
	switch e.kind() {
	case pathExact:
		return len(rest) == 0
	case pathSeparated:
		return len(rest) == 0 || rest[0] == '/'
	default:
		return true
	}
}

// step returns the child of n whose label begins rest, or nil.
func (x *trie) step(n *trieNode, rest []byte, fold bool) *trieNode {
	c := rest[0]
	if fold {
		c = ascii.Lower(c)
	}
	i := bytes.IndexByte(x.heads[n.child:n.child+n.children], c)
	if i < 0 {
		return nil
	}
	n = &x.nodes[n.child+uint32(i)]
	if uint32(len(rest)) < n.labelLen {
		return nil
	}
	label := x.labels[n.label : n.label+n.labelLen]
	if fold && ascii.EqualFoldString(rest[:n.labelLen], label) || !fold && string(rest[:n.labelLen]) == label {
		return n
	}
	return nil
}

// trieKey is one text to index.
type trieKey struct {
	text  string
	entry trieEntry
}

// trieSpan is a node still to be filled: the keys which share depth bytes.
type trieSpan struct {
	node   int
	keys   []trieKey
	shared int
}

// newTrie builds a trie breadth first, so that children lie together.
func newTrie(keys []trieKey) trie {
	var x trie
	if len(keys) == 0 {
		return x
	}
	slices.SortFunc(keys, func(a, b trieKey) int {
		if c := strings.Compare(a.text, b.text); c != 0 {
			return c
		}
		return int(a.entry) - int(b.entry)
	})
	x.nodes, x.heads = append(x.nodes, trieNode{}), append(x.heads, 0)
	x.entries = make([]trieEntry, 0, len(keys))
	var labels strings.Builder
	for queue := []trieSpan{{0, keys, 0}}; len(queue) > 0; queue = queue[1:] {
		queue = x.fill(queue[0], queue, &labels)
	}
	x.labels = labels.String()
	x.nodes, x.heads = slices.Clip(x.nodes), slices.Clip(x.heads)
	for i := len(x.nodes) - 1; i >= 0; i-- {
		x.setLeast(&x.nodes[i])
	}
	return x
}

// fill gives a node its entries and children, which join the queue.
func (x *trie) fill(s trieSpan, queue []trieSpan, labels *strings.Builder) []trieSpan {
	n, keys := &x.nodes[s.node], s.keys
	n.entry = uint32(len(x.entries))
	for len(keys) > 0 && len(keys[0].text) == s.shared {
		x.entries = append(x.entries, keys[0].entry)
		keys = keys[1:]
	}
	n.entryEnd, n.child = uint32(len(x.entries)), uint32(len(x.nodes))
	for len(keys) > 0 {
		head, end := keys[0].text[s.shared], 1
		for end < len(keys) && keys[end].text[s.shared] == head {
			end++
		}
		shared := s.shared + sharedLen(keys[0].text[s.shared:], keys[end-1].text[s.shared:])
		child := trieNode{label: uint32(labels.Len()), labelLen: uint32(shared - s.shared)}
		labels.WriteString(keys[0].text[s.shared:shared])
		queue = append(queue, trieSpan{len(x.nodes), keys[:end], shared})
		x.nodes, x.heads = append(x.nodes, child), append(x.heads, head)
		keys = keys[end:]
	}
	n = &x.nodes[s.node] // the slice may have moved
	n.children = uint32(len(x.nodes)) - n.child
	return queue
}

// sharedLen returns how many bytes a and b have in common at their beginnings.
func sharedLen(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// setLeast sets the smallest route of a node whose children have theirs.
func (x *trie) setLeast(n *trieNode) {
	n.least = noRoute
	if n.entry < n.entryEnd {
		n.least = x.entries[n.entry].route()
	}
	for _, c := range x.nodes[n.child : n.child+n.children] {
		n.least = min(n.least, c.least)
	}
}
