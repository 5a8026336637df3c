package config

import (
	"reflect"
	"slices"

	"millrace/filters"
)

// Load reads a config file: it decodes text, checks the tree and the names that
// run across it, and brings short forms into the long one. The tree is nil if
// any of the problems is fatal. File is the name the problems carry.
func Load(file string, text []byte, reg *Registry) (*Config, Errors) {
	return LoadInspected(file, text, reg, nil)
}

// An Inspector looks at a TLS context, a *certs.DownstreamConfig or *certs.UpstreamConfig, and reports what is wrong with
// the files that it names, as Validate does.
type Inspector func(context any, report func(path, problem, hint string))

// LoadInspected is Load that also shows each TLS context in which no problem has been found so far to inspect, which may
// be nil. Load itself opens no other file.
func LoadInspected(file string, text []byte, reg *Registry, inspect Inspector) (*Config, Errors) {
	if reg == nil {
		reg = NewRegistry()
	}
	c := new(Config)
	src, decoded := decode(file, text, c, reg)
	if decoded {
		src.checkListeners(c, reg)
		src.checkClusters(c, reg)
		if inspect != nil {
			src.inspect(c, reg, inspect)
		}
	}
	errs := src.finish()
	if errs.Fatal() {
		return nil, errs
	}
	c.normalize(reg)
	return c, errs
}

// normalize brings short forms into the long one, so that readers know one only.
func (c *Config) normalize(reg *Registry) {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Name == "" {
			l.Name = l.defaultName()
		}
		if l.Filters != nil {
			l.FilterChains = []FilterChain{{Filters: l.Filters, TLS: l.TLS}}
		}
		l.Filters, l.TLS = nil, nil
		for _, name := range l.impliedFilters() {
			at := len(l.ListenerFilters)
			if name == originalDst {
				at = 0 // before proxy_protocol, whose header knows better
			}
			l.ListenerFilters = slices.Insert(l.ListenerFilters, at, reg.listenerFilter(name))
		}
	}
}

// defaultName is the name of a listener that has none.
func (l *Listener) defaultName() string {
	if l.IsUDP() {
		return l.Address + "/udp"
	}
	return l.Address
}

// checkListeners reports names and addresses that are given twice, and filters where they cannot be.
func (s *source) checkListeners(c *Config, reg *Registry) {
	names, addrs := map[string]string{}, map[string]string{}
	if c.Admin != nil {
		for _, key := range addressKeys(c.Admin.Address, false) {
			addrs[key] = "admin.address"
		}
	}
	for i := range c.Listeners {
		l, at := &c.Listeners[i], joinIndex("listeners", i)
		taken := s.takeAddress(addrs, l, l.Address, joinName(at, "address"))
		for k, a := range l.AdditionalAddresses {
			s.takeAddress(addrs, l, a, joinIndex(joinName(at, "additional_addresses"), k))
		}
		switch {
		case l.Name != "":
			s.defineOnce(names, l.Name, joinName(at, "name"), "listener "+quote(l.Name)+" is defined twice")
		case !taken: // otherwise the same thing would be said twice
			name := l.defaultName()
			s.defineOnce(names, name, joinName(at, "address"), "listener "+quote(name)+" is defined twice")
		}
		s.checkHandOff(c, l, at)
		s.checkProtocol(l, at, reg)
		s.checkImplied(l, at, reg)
	}
}

// takeAddress enters the sockets of an address, or reports that one of them is
// taken. It reports whether it did that.
func (s *source) takeAddress(addrs map[string]string, l *Listener, address, path string) bool {
	for _, key := range addressKeys(address, l.IPv4Compat) {
		if l.IsUDP() {
			key = "udp " + key
		}
		if s.defineOnce(addrs, key, path, "address "+quote(address)+" is taken") {
			return true
		}
	}
	return false
}

// checkHandOff warns of a listener that nobody gives a connection.
func (s *source) checkHandOff(c *Config, l *Listener, at string) {
	if l.BindToPort || slices.ContainsFunc(c.Listeners, func(o Listener) bool { return o.UseOriginalDst }) {
		return
	}
	if e := s.reportUnbroken(joinName(at, "bind_to_port"), problem{
		"the listener never gets a connection: it has no socket, and none has use_original_dst to hand one over",
		`set "use_original_dst" on the listener that connections are redirected to`}); e != nil {
		e.Warning = true
	}
}

// checkProtocol reports filters for datagrams on a listener of connections, and the other way round.
func (s *source) checkProtocol(l *Listener, at string, reg *Registry) {
	check := func(list []filters.Config, path string) {
		for i := range list {
			if f, ok := reg.filter("network", list[i].Name); ok && f.UDP != l.IsUDP() {
				protocol := "tcp"
				if f.UDP {
					protocol = "udp"
				}
				s.reportUnbroken(joinName(joinIndex(path, i), "name"), problem{
					"filter " + quote(list[i].Name) + " is for listeners with protocol " + quote(protocol),
					"the listener's protocol is " + quote(l.Protocol)})
			}
		}
	}
	check(l.Filters, joinName(at, "filters"))
	for i := range l.FilterChains {
		check(l.FilterChains[i].Filters, joinName(joinIndex(joinName(at, "filter_chains"), i), "filters"))
	}
	if d := l.DefaultFilterChain; d != nil {
		check(d.Filters, joinName(at, "default_filter_chain.filters"))
	}
}

// impliedFilters returns the listener filters that the other settings of a listener need and that it does not list.
func (l *Listener) impliedFilters() (names []string) {
	if l.IsUDP() {
		return nil
	}
	if l.UseOriginalDst && !l.hasListenerFilter(originalDst) {
		names = append(names, originalDst)
	}
	if slices.ContainsFunc(l.FilterChains, inspectsTLS) && !l.hasListenerFilter(tlsInspector) {
		names = append(names, tlsInspector)
	}
	return names
}

// The listener filters that a listener gets by itself.
const (
	originalDst  = "original_dst"
	tlsInspector = "tls_inspector"
)

// inspectsTLS reports whether a chain cannot be chosen without the ClientHello of a connection.
func inspectsTLS(c FilterChain) bool {
	m := c.Match
	if m == nil {
		return false
	}
	return m.TransportProtocol == filters.TransportTLS ||
		m.TransportProtocol == "" && len(m.ServerNames)+len(m.ApplicationProtocols) > 0
}

func (l *Listener) hasListenerFilter(name string) bool {
	return slices.ContainsFunc(l.ListenerFilters, func(f filters.Config) bool { return f.Name == name })
}

// checkImplied reports settings that need a listener filter which there is not.
func (s *source) checkImplied(l *Listener, at string, reg *Registry) {
	for _, name := range l.impliedFilters() {
		if _, ok := reg.filter("listener", name); !ok {
			s.reportUnbroken(at, problem{text: "needs the listener filter " + quote(name)})
		}
	}
}

// defineOnce enters the path where a name is defined, or reports that it was
// before. It reports whether it did that.
func (s *source) defineOnce(known map[string]string, name, path, text string) bool {
	first, dup := known[name]
	if !dup {
		known[name] = path
		return false
	}
	if e := s.reportUnbroken(path, problem{text: text}); e != nil && !e.dropped() {
		e.Related = s.placeOf(first, first)
	}
	return true
}

// checkZones warns of zones that nothing goes by.
func (s *source) checkZones(c *Config) {
	if c.ClusterManager.LocalClusterName != "" {
		return
	}
	for i := range c.Clusters {
		if c.Clusters[i].ZoneAware == nil {
			continue
		}
		if e := s.reportUnbroken(joinName(joinIndex("clusters", i), "zone_aware_lb_config"), problem{
			"has no effect: nothing says which proxies there are",
			`set "cluster_manager": {"local_cluster_name": ...} and "node": {"locality": ...}`}); e != nil {
			e.Warning = true
		}
	}
}

// checkClusters reports clusters that are defined twice and references to
// clusters that are not defined.
func (s *source) checkClusters(c *Config, reg *Registry) {
	known := map[string]string{}
	complete := true
	for i := range c.Clusters {
		path := joinName(joinIndex("clusters", i), "name")
		if name := c.Clusters[i].Name; name != "" {
			s.defineOnce(known, name, path, "cluster "+quote(name)+" is defined twice")
		} else {
			complete = false // its name could not be read, and may be the one that is missed
		}
	}
	s.checkZones(c)
	if complete && !s.isBrokenExactly("clusters") {
		v := reflect.ValueOf(c).Elem()
		s.checkReferences(reg, planOf(v.Type()), v, "cluster", "clusters", known)
	}
}
