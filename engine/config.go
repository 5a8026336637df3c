package engine

import "time"

// LoopConfig holds the limits of a loop. Start from DefaultLoopConfig.
type LoopConfig struct {
	// EventsMax is how many events one epoll_wait takes. Default 512.
	EventsMax int
	// AcceptsPerTurn bounds the connections accepted per listener and turn. Default 64.
	AcceptsPerTurn int
	// ReadBytesPerTurn bounds what one conn reads, or splices, in one turn, so that a fast
	// peer does not starve the others; the rest follows in the next turn. The last piece may
	// exceed it. Default 256 KiB.
	ReadBytesPerTurn int
	// ScratchBytes is the size of the block all reads of the loop go to, and the most
	// that is kept for a handler that consumes nothing. Default 128 KiB; at most
	// arena.BlockMax.
	ScratchBytes int
	// StageBytes is the size of the staging buffer small writes gather in. Default 64 KiB.
	StageBytes int
	// PostedPerTurn bounds the posted functions run in one turn. Default 1024.
	PostedPerTurn int
	// ConnsMax bounds the open conns of the loop. At the limit accepting pauses and
	// Dial fails. Default 1 << 20.
	ConnsMax int
	// BlocksMax is the budget of the block arena, in bytes. Default 256 MiB.
	BlocksMax int64
	// QueuedBytesMax bounds the memory of all write queues of the loop together, which lie on the Go
	// heap beside BlocksMax. Above it the conns with the longest queues are closed, with a reset; one turn may add to
	// it before that. Default 512 MiB.
	QueuedBytesMax int64
	// WatermarkHigh is the write queue length at which Conn.Full reports true, in bytes.
	// Default 1 MiB.
	WatermarkHigh int
	// WatermarkLow is the length at which OnWriteLow follows. Default 512 KiB.
	WatermarkLow int
	// SplicePipesMax bounds the pipes of the loop; each is two file descriptors. A splice holds one while
	// its target is slower than its source; at the limit bytes are copied instead. Default 512.
	SplicePipesMax int
	// SplicePipeBytes is the capacity asked for each pipe. Half as much costs a long transfer 7 % more, and answers
	// of 1 MiB 20 % (November 2026). The kernel gives users without privileges at most
	// fs.pipe-max-size, and less beyond fs.pipe-user-pages-soft. Default 1 MiB.
	SplicePipeBytes int
	// SpliceBytesMin is the size from which a piece of a splice goes through a pipe; smaller ones are
	// read and written. Default 32 KiB.
	SpliceBytesMin int
	// AcceptRetry is how long accepting pauses when the process is out of file
	// descriptors and none of this loop is closed meanwhile. Default 100 ms.
	AcceptRetry time.Duration
	// PanicsPerMinuteMax is how many panics of handlers a minute are survived. Default 10.
	PanicsPerMinuteMax int

	// OnPanic is given the value and the stack of each recovered panic. Default: none.
	OnPanic func(value any, stack []byte)
	// OnTooManyPanics is called when PanicsPerMinuteMax is exceeded. Default: the process
	// exits with status 70, for its supervisor to restart it.
	OnTooManyPanics func()

	// Clock replaces the monotonic clock, in tests. Default nil.
	Clock func() int64
	// Faults injects short reads and writes, in tests. Default nil.
	Faults Faults
}

// DefaultLoopConfig returns the defaults above.
func DefaultLoopConfig() LoopConfig {
	return LoopConfig{
		EventsMax:          512,
		AcceptsPerTurn:     64,
		ReadBytesPerTurn:   256 << 10,
		ScratchBytes:       128 << 10,
		StageBytes:         64 << 10,
		PostedPerTurn:      1024,
		ConnsMax:           1 << 20,
		BlocksMax:          256 << 20,
		QueuedBytesMax:     512 << 20,
		WatermarkHigh:      1 << 20,
		WatermarkLow:       512 << 10,
		SplicePipesMax:     512,
		SplicePipeBytes:    1 << 20,
		SpliceBytesMin:     32 << 10,
		AcceptRetry:        100 * time.Millisecond,
		PanicsPerMinuteMax: 10,
	}
}

// Faults limits single system calls, so that tests reach each way a socket can be slow.
// It is asked before the call.
type Faults interface {
	// ReadMax returns how many of want bytes the next read may bring; 0 stands for EAGAIN.
	ReadMax(want int) int
	// WriteMax returns how many of want bytes the next write may take; 0 stands for EAGAIN.
	WriteMax(want int) int
}
