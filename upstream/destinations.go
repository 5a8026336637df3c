package upstream

import (
	"sync"
	"sync/atomic"

	"millrace/engine"
)

// Destinations are the hosts of a cluster of type "original_dst": what clients have wanted to reach of late. All loops share
// them. A loop asks once for each address and remembers the answer, so that the lock is not on the way of requests; the
// host can be used before the [HostSet] has it.
//
//	loop: Find ──▶ made, used at once ──▶ Added ──▶ control: Rebuild ──▶ HostSet ──▶ loops
//	                                                control: Sweep, Rebuild ──▶ HostSet ──▶ loops let go of it
type Destinations struct {
	// Added has the control goroutine called, which has to Rebuild the cluster. It does not wait. It is set before a loop
	// sees the cluster; nil tells nobody.
	Added func()

	mu      sync.Mutex
	hosts   map[engine.Addr]*Host
	slots   []*Host  // by Host.Slot, nil where there is none
	free    []uint32 // slots to give out
	resting []uint32 // slots of hosts that the last Sweep has ended: loops that have not heard of it use them still
	max     int
	version uint64 // of hosts
}

// hostUse is what a host of a cluster of type "original_dst" knows of its use.
type hostUse struct {
	used atomic.Bool // since the last Sweep; written by the loops
	gone atomic.Bool // written by control
}

// Touch notes that the host is used.
func (h *Host) Touch() {
	if !h.use.used.Load() {
		h.use.used.Store(true)
	}
}

// Gone reports whether Sweep has ended the host: whoever remembers it should ask for another one.
func (h *Host) Gone() bool { return h.use.gone.Load() }

// Find returns the host of an address, which it makes if there is none. It returns nil if there are as many as there may be.
func (d *Destinations) Find(a engine.Addr) *Host {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.hosts[a]; h != nil {
		return h
	}
	if len(d.hosts) >= d.max {
		return nil
	}
	h := newHost(a, 1, 0)
	h.use.used.Store(true)
	if n := len(d.free); n > 0 {
		h.slot, d.free = d.free[n-1], d.free[:n-1]
		d.slots[h.slot] = h
	} else {
		h.slot = uint32(len(d.slots))
		d.slots = append(d.slots, h)
	}
	h.slotted = true
	if d.hosts == nil {
		d.hosts = map[engine.Addr]*Host{}
	}
	d.hosts[a] = h
	d.version++
	if d.Added != nil {
		d.Added()
	}
	return h
}

// Sweep ends the hosts that were not used since the last call and carry nothing. It reports whether there were any; then the
// cluster has to be rebuilt, and the loops told. Called on the control goroutine.
func (d *Destinations) Sweep() (changed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = append(d.free, d.resting...)
	d.resting = d.resting[:0]
	for slot, h := range d.slots {
		if h == nil || h.use.used.Swap(false) || h.RqActive.Load() > 0 {
			continue
		}
		h.use.gone.Store(true)
		delete(d.hosts, h.Addr)
		d.slots[slot] = nil
		d.resting = append(d.resting, h.slot)
		changed = true
	}
	if changed {
		d.version++
	}
	return changed
}

// setMax bounds the hosts. Those there are stay.
func (d *Destinations) setMax(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.max = n
}

// members returns the hosts in the order of their slots, and their version; nil if that is the one seen before.
func (d *Destinations) members(seen uint64) ([]member, uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.version == seen {
		return nil, seen
	}
	list := make([]member, 0, len(d.hosts))
	for _, h := range d.slots {
		if h != nil {
			list = append(list, member{host: h, weight: 1})
		}
	}
	return list, d.version
}
