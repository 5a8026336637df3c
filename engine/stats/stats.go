package stats

// A Counter only grows. One goroutine writes it (a loop); any may Load it.
type Counter struct{ v value }

// Inc adds one.
func (c *Counter) Inc() { c.v.add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.v.add(n) }

// Load returns the value, from any goroutine.
func (c *Counter) Load() uint64 { return c.v.load() }

// A Gauge goes up and down. One goroutine writes it; any may Load it.
type Gauge struct{ v value }

// Inc adds one.
func (g *Gauge) Inc() { g.v.add(1) }

// Dec takes one away.
func (g *Gauge) Dec() { g.v.add(^uint64(0)) }

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) { g.v.add(uint64(n)) }

// Set replaces the value.
func (g *Gauge) Set(n int64) { g.v.set(uint64(n)) }

// Load returns the value, from any goroutine.
func (g *Gauge) Load() int64 { return int64(g.v.load()) }

// A GaugeFunc is a gauge that is asked for when it is shown, as a field of a set. It must be
// set before the set is registered, and is called by readers at any time. Nil reads as 0. Of a
// set for each of 10,000 clusters it costs less than [Registry.Func], and has the labels of its scope.
type GaugeFunc func() int64
