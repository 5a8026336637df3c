package filters

import (
	"fmt"

	"millrace/codec"
)

// FiltersMax is the largest number of filters in one chain.
const FiltersMax = 64

// link is one filter of a chain with its contracts resolved, so that running it
// needs no type assertion.
type link struct {
	name             string
	requestHead      RequestHeadFilter
	requestData      RequestDataFilter
	requestTrailers  RequestTrailersFilter
	responseHead     ResponseHeadFilter
	responseData     ResponseDataFilter
	responseTrailers ResponseTrailersFilter
	requestRewriter  RequestRewriter
	responseRewriter ResponseRewriter
	destroy          Destroyer
}

// A Chain is the ordered filters of one connection manager on one loop, and the terminal
// behind them. Request hooks run forward, response hooks backward.
type Chain struct {
	links    []link
	terminal Terminal

	// Which kinds of hooks exist at all: most chains have none for data.
	hasRequestData, hasResponseHead, hasResponseData, hasTrailers, hasDestroy bool

	scratch [][]byte // memory for rewritten pieces that nobody uses now
}

// NewChain returns a chain that ends in t.
func NewChain(t Terminal) *Chain { return &Chain{terminal: t} }

// Add appends a filter object, which must implement at least one contract.
func (c *Chain) Add(name string, f any) error {
	if len(c.links) == FiltersMax {
		return fmt.Errorf("filter %q: more than %d filters in one chain", name, FiltersMax)
	}
	l := link{name: name}
	l.requestHead, _ = f.(RequestHeadFilter)
	l.requestData, _ = f.(RequestDataFilter)
	l.requestTrailers, _ = f.(RequestTrailersFilter)
	l.responseHead, _ = f.(ResponseHeadFilter)
	l.responseData, _ = f.(ResponseDataFilter)
	l.responseTrailers, _ = f.(ResponseTrailersFilter)
	l.requestRewriter, _ = f.(RequestRewriter)
	l.responseRewriter, _ = f.(ResponseRewriter)
	l.destroy, _ = f.(Destroyer)
	request := l.requestHead != nil || l.requestData != nil || l.requestTrailers != nil
	response := l.responseHead != nil || l.responseData != nil || l.responseTrailers != nil
	if !request && !response {
		return fmt.Errorf("filter %q: %T implements no filter contract", name, f)
	}
	c.links = append(c.links, l)
	c.hasRequestData = c.hasRequestData || l.requestData != nil || l.requestRewriter != nil
	c.hasResponseHead = c.hasResponseHead || l.responseHead != nil
	c.hasResponseData = c.hasResponseData || l.responseData != nil || l.responseRewriter != nil
	c.hasTrailers = c.hasTrailers || l.requestTrailers != nil || l.responseTrailers != nil
	c.hasDestroy = c.hasDestroy || l.destroy != nil
	return nil
}

// Len returns the number of filters before the terminal.
func (c *Chain) Len() int { return len(c.links) }

// Terminal returns the last filter.
func (c *Chain) Terminal() Terminal { return c.terminal }

// ObservesData reports whether a filter looks at the bodies of a direction. Bodies nobody
// looks at may be spliced.
func (c *Chain) ObservesData(d Direction) bool {
	if d == Request {
		return c.hasRequestData
	}
	return c.hasResponseData
}

// LooksBack reports whether a filter may look at a stream, and so at its heads, after the head of the response has passed
// all filters.
func (c *Chain) LooksBack() bool {
	return c.hasRequestData || c.hasResponseData || c.hasTrailers || c.hasDestroy
}

// Destroy calls OnDestroy of the filters that have one, in order, and of the terminal last.
func (c *Chain) Destroy(s *Stream) {
	if c.hasDestroy {
		for i := range c.links {
			s.slot = i
			if d := c.links[i].destroy; d != nil && !s.without() {
				d.OnDestroy(s)
			}
		}
	}
	c.terminal.OnDestroy(s)
}

// at returns the index of the i-th filter a message of direction d meets.
func (c *Chain) at(d Direction, i int) int {
	if d == Request {
		return i
	}
	return len(c.links) - 1 - i
}

// head shows the head to the i-th filter of direction d.
func (c *Chain) head(d Direction, i int, s *Stream, end bool) Verdict {
	s.slot = c.at(d, i)
	l := &c.links[s.slot]
	if d == Request {
		if l.requestHead == nil || s.without() {
			return Continue
		}
		return l.requestHead.OnRequestHead(s, end)
	}
	if l.responseHead == nil || s.without() {
		return Continue
	}
	return l.responseHead.OnResponseHead(s, end)
}

// data shows a piece of the body to the i-th filter of direction d.
func (c *Chain) data(d Direction, i int, s *Stream, b []byte, end bool) Verdict {
	s.slot = c.at(d, i)
	l := &c.links[s.slot]
	if d == Request {
		if l.requestData == nil || s.without() {
			return Continue
		}
		return l.requestData.OnRequestData(s, b, end)
	}
	if l.responseData == nil || s.without() {
		return Continue
	}
	return l.responseData.OnResponseData(s, b, end)
}

// takesData reports whether the i-th filter of direction d looks at bodies.
func (c *Chain) takesData(d Direction, i int) bool {
	l := &c.links[c.at(d, i)]
	return d == Request && l.requestData != nil || d == Response && l.responseData != nil
}

// trailers shows the trailers to the i-th filter of direction d.
func (c *Chain) trailers(d Direction, i int, s *Stream, t *codec.Fields) Verdict {
	s.slot = c.at(d, i)
	l := &c.links[s.slot]
	if d == Request {
		if l.requestTrailers == nil || s.without() {
			return Continue
		}
		return l.requestTrailers.OnRequestTrailers(s, t)
	}
	if l.responseTrailers == nil || s.without() {
		return Continue
	}
	return l.responseTrailers.OnResponseTrailers(s, t)
}
