package hpack

// Memory keeps memory of tables for reuse: that of one that grows, is trimmed or ends is the next one's. It belongs to one
// loop, as the connections do that share it. The zero value is empty.
type Memory struct {
	free [len(memorySizes)][][]byte
}

// memorySizes are those that are kept. The last is a table of the usual size and the quarter that may be dead.
var memorySizes = [...]int{512, 1024, 2048, TableSizeDefault + TableSizeDefault/4}

// freeMax is how many pieces of each size are kept.
const freeMax = 64

// take returns empty memory for at least n bytes.
func (m *Memory) take(n int) []byte {
	for i, size := range memorySizes {
		if n > size {
			continue
		}
		if m == nil || len(m.free[i]) == 0 {
			return make([]byte, 0, size)
		}
		last := len(m.free[i]) - 1
		b := m.free[i][last]
		m.free[i] = m.free[i][:last]
		return b
	}
	return make([]byte, 0, n)
}

// put takes memory back that take may have given.
func (m *Memory) put(b []byte) {
	if m == nil || cap(b) == 0 {
		return
	}
	for i, size := range memorySizes {
		if cap(b) == size && len(m.free[i]) < freeMax {
			m.free[i] = append(m.free[i], b[:0])
		}
	}
}
