package health

import "container/heap"

// queue is the checks that wait for their time, the next one first. It implements heap.Interface.
type queue []*hostCheck

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	hc := x.(*hostCheck)
	hc.index = len(*q)
	*q = append(*q, hc)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	hc := (*q)[last]
	(*q)[last] = nil
	*q, hc.index = (*q)[:last], -1
	return hc
}

// add puts a check in.
func (q *queue) add(hc *hostCheck) { heap.Push(q, hc) }

// next takes the check out that is due first.
func (q *queue) next() *hostCheck { return heap.Pop(q).(*hostCheck) }

// remove takes a check out, if it is in.
func (q *queue) remove(hc *hostCheck) {
	if hc.index >= 0 {
		heap.Remove(q, hc.index)
	}
}
