package filters

// A Verdict is what a filter answers when it has looked at a part of a message.
type Verdict uint8

const (
	// Continue passes the part on to the next filter.
	Continue Verdict = iota

	// Pause holds the message at this filter, which is shown nothing more of it. Nothing more is read either:
	// what the peer still sends waits in the kernel. The filter resumes it later with Stream.Resume.
	Pause

	// Buffer holds the message at this filter but goes on reading: the stream keeps the
	// body, up to its buffer limit (413 for a request, 500 for a response beyond it), and shows the filter each
	// further piece. When the filter answers Continue, or resumes, the head and all that was kept move on.
	Buffer

	// Replied says that the filter has answered the request itself (Stream.Reply): no later
	// filter sees the request.
	Replied
)

// String returns the name of v.
func (v Verdict) String() string {
	switch v {
	case Continue:
		return "continue"
	case Pause:
		return "pause"
	case Buffer:
		return "buffer"
	case Replied:
		return "replied"
	}
	return "verdict?"
}
