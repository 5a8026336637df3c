package transport

import (
	"millrace/engine"
	"millrace/engine/internal/record"
)

const (
	// cipherInBytes is the buffer that a loop reads ciphertext to: four full records.
	cipherInBytes = 4 * record.RecordLenMax
	// cipherOutBytes is the buffer in which a loop seals records: what one write to the socket brings.
	cipherOutBytes = 4 * (record.PrefixMax + record.MaxPlaintext + record.SuffixMax)
)

// buffers are what the connections of one loop share. They are empty between two calls of a transport.
type buffers struct {
	in  []byte // ciphertext that was read
	out []byte // ciphertext to be written
	n   int    // of out, in use

	gather []byte // small pieces on their way to crypto/tls

	awake awake
}

// buffersOf returns the buffers of l, the same for all Acceptors and Dialers.
func (h *Handshakes) buffersOf(l *engine.Loop) *buffers {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.loops[l]
	if b == nil {
		b = &buffers{in: make([]byte, cipherInBytes), out: make([]byte, cipherOutBytes), gather: make([]byte, 0, record.MaxPlaintext)}
		b.awake.init(l, &h.rested)
		h.loops[l] = b
	}
	return b
}
