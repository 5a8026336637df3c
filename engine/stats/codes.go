package stats

import "sync/atomic"

// Codes counts by HTTP status code. As a field of a set with the tag `stat:"upstream_rq_"`
// it gives upstream_rq_200 for each code seen, upstream_rq_2xx for each class, and
// upstream_rq_completed. One goroutine Incs; memory comes with the first code of a class.
type Codes struct {
	class [6]Counter // class[0] is anything outside 100 to 599
	pages [6]atomic.Pointer[[100]Counter]
}

// codeNames are the names of the codes, so that a visit builds none.
var codeNames, classNames = func() (names [600]string, classes [6]string) {
	for c := 100; c < 600; c++ {
		names[c] = string([]byte{byte('0' + c/100), byte('0' + c/10%10), byte('0' + c%10)})
		classes[c/100] = names[c][:1] + "xx"
	}
	return names, classes
}()

// Inc counts a response with code. Codes outside 100 to 599 only count as completed.
func (c *Codes) Inc(code int) {
	if code < 100 || code > 599 {
		c.class[0].Inc()
		return
	}
	class := code / 100
	c.class[class].Inc()
	page := c.pages[class].Load()
	if page == nil {
		page = new([100]Counter)
		c.pages[class].Store(page)
	}
	page[code%100].Inc()
}

// Completed returns how many responses were counted.
func (c *Codes) Completed() uint64 {
	n := uint64(0)
	for i := range c.class {
		n += c.class[i].Load()
	}
	return n
}

// Class returns how many responses of class 1 to 5 were counted.
func (c *Codes) Class(class int) uint64 { return c.class[class].Load() }

// EachStat implements [Dynamic].
func (c *Codes) EachStat(yield func(name string, n uint64)) {
	total := c.class[0].Load()
	for class := 1; class < len(c.class); class++ {
		n := c.class[class].Load()
		if n == 0 {
			continue
		}
		total += n
		yield(classNames[class], n)
		page := c.pages[class].Load()
		if page == nil {
			continue
		}
		for i := range page {
			if n := page[i].Load(); n != 0 {
				yield(codeNames[class*100+i], n)
			}
		}
	}
	yield("completed", total)
}
