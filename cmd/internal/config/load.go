package config

import "reflect"

// Load reads a config file: it decodes text, checks the tree and the names that
// run across it, and brings short forms into the long one. The tree is nil if
// any of the problems is fatal. File is the name the problems carry.
func Load(file string, text []byte, reg *Registry) (*Config, Errors) {
	if reg == nil {
		reg = NewRegistry()
	}
	c := new(Config)
	src, decoded := decode(file, text, c, reg)
	if decoded {
		src.checkListeners(c)
		src.checkClusters(c, reg)
	}
	errs := src.finish()
	if errs.Fatal() {
		return nil, errs
	}
	c.normalize()
	return c, errs
}

// normalize brings short forms into the long one, so that readers know one only.
func (c *Config) normalize() {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Name == "" {
			l.Name = l.Address
		}
		if len(l.FilterChains) == 0 {
			l.FilterChains = []FilterChain{{Filters: l.Filters}}
		}
		l.Filters = nil
	}
}

// checkListeners reports names and addresses that are given twice.
func (s *source) checkListeners(c *Config) {
	names, addrs := map[string]string{}, map[string]string{}
	if c.Admin != nil {
		for _, key := range addressKeys(c.Admin.Address) {
			addrs[key] = "admin.address"
		}
	}
	for i := range c.Listeners {
		l, at := &c.Listeners[i], joinIndex("listeners", i)
		taken := s.takeAddress(addrs, l.Address, joinName(at, "address"))
		switch {
		case l.Name != "":
			s.defineOnce(names, l.Name, joinName(at, "name"), "listener "+quote(l.Name)+" is defined twice")
		case !taken: // otherwise the same thing would be said twice
			s.defineOnce(names, l.Address, joinName(at, "address"), "listener "+quote(l.Address)+" is defined twice")
		}
	}
}

// takeAddress enters the sockets of an address, or reports that one of them is
// taken. It reports whether it did that.
func (s *source) takeAddress(addrs map[string]string, address, path string) bool {
	for _, key := range addressKeys(address) {
		if s.defineOnce(addrs, key, path, "address "+quote(address)+" is taken") {
			return true
		}
	}
	return false
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
	if complete && !s.isBrokenExactly("clusters") {
		v := reflect.ValueOf(c).Elem()
		s.checkReferences(reg, planOf(v.Type()), v, "cluster", "clusters", known)
	}
}
