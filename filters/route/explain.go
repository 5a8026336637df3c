package route

import (
	"fmt"
	"slices"
	"strings"
)

// Trail is how a decision came about, for people.
type Trail struct {
	// Host that was looked up.
	Host string
	// Path that routes were compared with: without query.
	Path string
	// Domains are those which fit the host, the best one first. Its virtual host was taken.
	Domains []DomainStep
	// VirtualHost is the one taken, "" if no domain fits.
	VirtualHost string
	// RequireTLS says that the request was redirected to https before routes were looked at.
	RequireTLS bool
	// Routes are those of the virtual host in order.
	Routes []RouteStep
	// Chosen is the index in Routes of the route taken, or -1.
	Chosen int
}

// DomainStep is one domain that fits the host.
type DomainStep struct {
	VirtualHost string
	Domain      string // as configured, but in lower case
	Kind        string // exact, suffix, prefix or any
}

// RouteStep is one route of the virtual host.
type RouteStep struct {
	Route *Route
	Match string // such as `prefix "/api/"`
	// Reason why it was not taken, "" for the one that was.
	Reason string
}

// Explain makes the same decision as Match and tells how. It allocates and looks at every route: it
// is not for the data path.
func (t *Table) Explain(in *Input) (*Route, *Trail) {
	host := in.Head.Authority()
	path := t.comparedPath(in.Head)
	trail := &Trail{Host: string(host), Path: string(path), Chosen: -1, Domains: t.fittingDomains(host)}
	i := t.hosts.lookup(host)
	if i < 0 {
		return nil, trail
	}
	vh := &t.vhosts[i]
	trail.VirtualHost = vh.Name
	if vh.wantsTLS(in) {
		trail.RequireTLS = true
		return vh.tlsRedirect, trail
	}
	var chosen *Route
	for i := vh.first; i < vh.end; i++ {
		r := &t.routes[i]
		step := RouteStep{Route: r, Match: r.path.String()}
		switch {
		case chosen != nil:
			step.Reason = "not reached"
		default:
			if step.Reason = t.refusal(r, in, path); step.Reason == "" {
				chosen, trail.Chosen = r, len(trail.Routes)
			}
		}
		trail.Routes = append(trail.Routes, step)
	}
	return chosen, trail
}

// refusal says why a route does not match, "" if it does.
func (t *Table) refusal(r *Route, in *Input, path []byte) string {
	if !r.path.fits(in.Head, path) {
		return r.path.refusal(in, path)
	}
	if i := t.failed(r, in); i >= 0 {
		return t.conds[int(r.condFirst)+i].refusal(in)
	}
	return ""
}

// String describes the match as in the configuration.
func (m *pathMatch) String() string {
	s := m.kind.String()
	if m.kind != pathConnect {
		s += fmt.Sprintf(" %q", m.text)
	}
	if m.fold {
		s += " in any case"
	}
	return s
}

// refusal says why the path does not fit.
func (m *pathMatch) refusal(in *Input, path []byte) string {
	switch {
	case m.kind == pathConnect:
		return fmt.Sprintf("method %s is not CONNECT", in.Head.MethodBytes())
	case path == nil:
		return "the request has no path"
	default:
		return fmt.Sprintf("path %q does not fit %s", clip(path), m)
	}
}

// String describes the condition.
func (c *condition) String() string {
	var what string
	switch c.from {
	case fromQuery:
		what = "query parameter " + c.name
	case fromCookie:
		what = "cookie " + c.name
	case fromRandom:
		return strings.TrimSpace(fmt.Sprintf("runtime_fraction %s", c.name))
	default:
		what = "header " + c.name
	}
	s := what + " " + c.test.String()
	switch c.test {
	case testRegex:
		s += fmt.Sprintf(" %q", strings.TrimSuffix(strings.TrimPrefix(c.regex.String(), `\A(?:`), `)\z`))
	case testRange:
		s += fmt.Sprintf(" [%d, %d)", c.lo, c.hi)
	case testExact, testPrefix, testSuffix, testContains:
		s += fmt.Sprintf(" %q", c.value)
	}
	if c.fold {
		s += " in any case"
	}
	if c.invert {
		s += ", inverted"
	}
	return s
}

// refusal says why the condition does not hold.
func (c *condition) refusal(in *Input) string {
	if c.from == fromRandom {
		return fmt.Sprintf("%s: %.4f%% is not below %.4f%%", c, percent(in.Random%fractionUnit), percent(uint64(c.share(in))))
	}
	value := c.find(in)
	if value == nil {
		return fmt.Sprintf("%s: absent", c)
	}
	return fmt.Sprintf("%s: value is %q", c, clip(value))
}

func percent(millionths uint64) float64 { return float64(millionths) / (fractionUnit / 100) }

// clipMax is how many bytes of a value a reason repeats.
const clipMax = 200

func clip(b []byte) []byte { return b[:min(len(b), clipMax)] }

// fittingDomains returns the domains that fit a host, the best first.
func (t *Table) fittingDomains(host []byte) []DomainStep {
	x := &t.hosts
	host = x.compared(host)
	var steps []DomainStep
	x.exact.each(func(s *domainSlot) {
		if strings.EqualFold(string(host), s.text) {
			steps = append(steps, DomainStep{t.vhosts[s.vh].Name, s.text, "exact"})
		}
	})
	n := len(steps)
	x.suffix.each(func(s *domainSlot) {
		if len(host) > len(s.text) && strings.EqualFold(string(host[len(host)-len(s.text):]), s.text) {
			steps = append(steps, DomainStep{t.vhosts[s.vh].Name, "*" + s.text, "suffix"})
		}
	})
	n = longestFirst(steps, n)
	x.prefix.each(func(s *domainSlot) {
		if len(host) > len(s.text) && strings.EqualFold(string(host[:len(s.text)]), s.text) {
			steps = append(steps, DomainStep{t.vhosts[s.vh].Name, s.text + "*", "prefix"})
		}
	})
	longestFirst(steps, n)
	if x.any >= 0 {
		steps = append(steps, DomainStep{t.vhosts[x.any].Name, "*", "any"})
	}
	return steps
}

// longestFirst sorts the steps from one on and returns their number.
func longestFirst(steps []DomainStep, from int) int {
	slices.SortFunc(steps[from:], func(a, b DomainStep) int { return len(b.Domain) - len(a.Domain) })
	return len(steps)
}

// each calls f with every domain of the table.
func (d *domainTable) each(f func(*domainSlot)) {
	for i := range d.slots {
		if d.slots[i].text != "" {
			f(&d.slots[i])
		}
	}
}

// String renders the trail, one step a line.
func (tr *Trail) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "host %q\n", tr.Host)
	for i, d := range tr.Domains {
		note := "taken"
		if i > 0 {
			note = "a better domain fits"
		}
		fmt.Fprintf(&b, "  virtual host %q by %s domain %q: %s\n", d.VirtualHost, d.Kind, d.Domain, note)
	}
	switch {
	case tr.VirtualHost == "" && len(tr.Domains) == 0:
		b.WriteString("  no virtual host has a domain for it\n")
		return b.String()
	case tr.RequireTLS:
		b.WriteString("  redirected to https by require_tls\n")
		return b.String()
	}
	fmt.Fprintf(&b, "path %q\n", tr.Path)
	for i, s := range tr.Routes {
		reason := s.Reason
		if i == tr.Chosen {
			if reason = "TAKEN: " + s.Route.Action.String(); s.Route.Mirrors() != nil {
				reason += ", mirrored"
			}
			if x := s.Route.forward; x != nil && x.extras != nil && x.extras.criteria != nil {
				reason += ", hosts with " + x.extras.criteria.String()
			}
		}
		fmt.Fprintf(&b, "  route %d %s: %s\n", i, strings.TrimSpace(s.Route.Name+" "+s.Match), reason)
	}
	if tr.Chosen < 0 {
		b.WriteString("  no route matches\n")
	}
	return b.String()
}
