package codec

// Limits bounds what a peer may send. It is shared and read-only once in use.
type Limits struct {
	// HeadBytes bounds a head: start line, fields and the empty line, in bytes. Beyond it a request
	// is answered with 431, a response with 502. Default 60 KiB. At most 1 GiB.
	HeadBytes int
	// FieldCount bounds the fields of a head. Beyond it 431 or 502. Default 100.
	FieldCount int
	// TargetBytes bounds a request-target, in bytes. Beyond it 414. Default 32 KiB;
	// RFC 9112 section 3 asks for at least 8,000.
	TargetBytes int
	// ChunkExtBytes bounds the chunk extensions of one body, in bytes, summed over its
	// chunks. Beyond it 400 or 502. Default 16 KiB.
	ChunkExtBytes int
	// TrailerBytes bounds a trailer section, in bytes. Beyond it 431 or 502. Default 16 KiB.
	TrailerBytes int
	// TrailerCount bounds the fields of a trailer section. Beyond it 431 or 502. Default 50.
	TrailerCount int
	// InformationalCount bounds the 1xx responses before a final one. Beyond it 502. Default 16.
	InformationalCount int
	// AcceptHTTP10 takes HTTP/1.0 requests; without it they are answered with 426. Default true.
	AcceptHTTP10 bool
}

// DefaultLimits returns the defaults.
func DefaultLimits() Limits {
	return Limits{
		HeadBytes:          60 << 10,
		FieldCount:         100,
		TargetBytes:        32 << 10,
		ChunkExtBytes:      16 << 10,
		TrailerBytes:       16 << 10,
		TrailerCount:       50,
		InformationalCount: 16,
		AcceptHTTP10:       true,
	}
}
