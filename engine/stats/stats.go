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
