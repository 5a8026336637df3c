package pool

import (
	"net/netip"

	"millrace/engine"
	"millrace/upstream"
)

// destinationBytesMax is the longest field that can name a host: "[0000:…:255.255.255.255]:65535" and a little.
const destinationBytesMax = 64

// destinations are the hosts of a cluster of type "original_dst" that this loop has asked for. The zero value is that of any
// other cluster.
type destinations struct {
	shared *upstream.Destinations
	header string // of the field that names the host, or ""
	port   uint16 // in place of that of the destination, unless it is 0
	max    int    // of hosts; texts has no more than twice as many entries

	hosts map[engine.Addr]*upstream.Host
	texts map[string]*upstream.Host // by what the field says
}

// noHosts is the balancer of a cluster that has no choice.
type noHosts struct{}

// Pick implements [upstream.Balancer].
func (noHosts) Pick(*upstream.Bucket, *upstream.Pick) *upstream.Host { return nil }

// use puts a cluster's configuration into force.
func (d *destinations) use(c *upstream.Cluster) {
	if c.Destinations == nil {
		*d = destinations{}
		return
	}
	if d.shared != c.Destinations {
		*d = destinations{shared: c.Destinations, hosts: map[engine.Addr]*upstream.Host{}, texts: map[string]*upstream.Host{}}
	}
	o := &c.Config.OriginalDst
	if d.header, d.max = c.Config.OriginalDstHeader(), int(o.MaxHosts); d.port != o.UpstreamPortOverride {
		d.port = o.UpstreamPortOverride
		clear(d.texts)
	}
}

// forget lets go of the hosts that are gone.
func (d *destinations) forget() {
	for a, h := range d.hosts {
		if h.Gone() {
			delete(d.hosts, a)
		}
	}
	for text, h := range d.texts {
		if h.Gone() {
			delete(d.texts, text)
		}
	}
}

// has reports whether h is one of the hosts, which those that all loops know need not include yet.
func (d *destinations) has(h *upstream.Host) bool { return d.shared != nil && d.hosts[h.Addr] == h }

// find returns the host of an address, nil if there are too many or it is none to connect to.
func (d *destinations) find(a engine.Addr) (h *upstream.Host, full bool) {
	if d.port != 0 {
		a = a.WithPort(d.port)
	}
	if h = d.hosts[a]; h != nil {
		return h, false
	}
	if ip := a.NetIP(); a.IsUnix() || a.Port() == 0 || !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() {
		return nil, false
	}
	if h = d.shared.Find(a); h == nil {
		return nil, true
	}
	d.hosts[a] = h
	return h, false
}

// read returns the host that a field names.
func (d *destinations) read(text []byte) (h *upstream.Host, full bool) {
	if h = d.texts[string(text)]; h != nil { // does not allocate
		return h, false
	}
	if len(text) > destinationBytesMax {
		return nil, false
	}
	ap, err := netip.ParseAddrPort(string(text))
	if err != nil || ap.Addr().Zone() != "" {
		return nil, false
	}
	if h, full = d.find(engine.AddrFrom(ap.Addr(), ap.Port(), 0)); h != nil {
		if len(d.texts) >= 2*d.max { // the same hosts, spelled in many ways
			clear(d.texts)
		}
		d.texts[string(text)] = h
	}
	return h, full
}

// ByDestination reports whether the host of a request is where its client wanted to go: see PickDestination.
func (c *Cluster) ByDestination() bool { return c.destinations.shared != nil }

// DestinationHeader returns the name of the field that names the host, "" if none does.
func (c *Cluster) DestinationHeader() string { return c.destinations.header }

// PickDestination is Pick for a cluster by destination: the host that the field of the request names, else the one that the
// client of a downstream connection wanted to reach. It returns nil if neither is known, or full if there are as many hosts
// as there may be. field is nil without one.
//
// Hot path: TestDestinationAllocs.
func (c *Cluster) PickDestination(down *engine.Conn, field []byte) (h *upstream.Host, full bool) {
	d := &c.destinations
	if len(field) > 0 {
		if h, full = d.read(field); h == nil && !full {
			c.Stats.OriginalDstInvalid.Inc()
		}
	}
	if h == nil && !full && down.LocalRestored() {
		h, full = d.find(down.LocalAddr())
	}
	switch {
	case h != nil:
		h.Touch()
	case full:
		c.Stats.OriginalDstOverflow.Inc()
	default:
		c.Stats.CxNoneHealthy.Inc()
	}
	return h, full
}
