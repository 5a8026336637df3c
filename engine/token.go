package engine

// A Token names a conn to epoll: the slot it lies in and the generation of the slot. An
// event whose generation is over is stale: its conn was closed earlier in the same
// batch, and the fd may be someone else's by now.
type Token struct{ Slot, Gen uint32 }

const (
	slotListener = 1 << 31    // set in the slots of listeners
	slotWake     = ^uint32(0) // the eventfd
)
