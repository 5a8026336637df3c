package hpack

// Error says why a header block cannot be decoded. Each is a COMPRESSION_ERROR of the whole connection, but for
// ErrTooLong and ErrMore, which the caller judges.
type Error uint8

const (
	ErrNone       Error = iota
	ErrMore             // the block ends inside a representation
	ErrIndex            // an index of no entry
	ErrInteger          // an integer too large, or encoded too long
	ErrHuffman          // a code that is none, or padding that is not the most significant bits of EOS
	ErrSizeUpdate       // a table size above the agreed one, or an update behind a field
	ErrNoUpdate         // no size update at the start of the block after the size was lowered
	ErrTooLong          // name and value exceed the room given
)

var errorNames = [...]string{"none", "truncated", "invalid index", "integer overflow", "invalid huffman code",
	"invalid table size update", "missing table size update", "field too long"}

// String returns the error as a few words.
func (e Error) String() string {
	if int(e) < len(errorNames) {
		return errorNames[e]
	}
	return "unknown"
}
