package pool

// queue is a first-in first-out list through the exchanges themselves, so that waiting
// allocates nothing and giving up takes constant time.
type queue struct {
	head, tail *Exchange
	count      int
	fresh      int    // of them, those that want a fresh connection
	epoch      uint32 // stamped on what is pushed; see Pool.failPending
}

// push appends x.
func (q *queue) push(x *Exchange) {
	x.epoch = q.epoch
	x.prev, x.next = q.tail, nil
	if q.tail != nil {
		q.tail.next = x
	} else {
		q.head = x
	}
	q.tail = x
	q.count++
	if x.fresh {
		q.fresh++
	}
}

// remove takes x out. Precondition: x is in q.
func (q *queue) remove(x *Exchange) {
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		q.head = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	} else {
		q.tail = x.prev
	}
	x.prev, x.next = nil, nil
	q.count--
	if x.fresh {
		q.fresh--
	}
}
