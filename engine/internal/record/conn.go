package record

import (
	"errors"
)

// UselessMax is how many records in a row may carry no data: empty ones, alerts that are warnings, KeyUpdates, tickets.
// It is that of crypto/tls.
const UselessMax = 16

// A Conn is an established TLS connection, both directions of it.
//
//	       close_notify, alert, our own failure
//	open ──────────────────────────────────────▶ ended: Read repeats its error
//	open ──── AppendClose, AppendReplies with an alert ────▶ shut: nothing more is sealed
//
// The two ends are independent: after a close_notify of the peer this side may go on writing, and the other way round.
type Conn struct {
	in, out Half

	// skip is what is left of the body of a handshake message whose content does not matter; hand is the
	// beginning of one, its header and of a KeyUpdate the body too, and handLen how much of it has come.
	skip    uint32
	hand    [5]byte
	handLen uint8

	useless uint8  // records without data in a row
	flags   uint8  // flagX
	end     ending // of reading
	code    Alert  // of the peer, with endRemote
}

const (
	flagClient    = 1 << iota
	flagKeyUpdate // the peer asked for a KeyUpdate
	flagAsked     // we asked the peer for one, since its last
	flagAlert     // an alert is to be sent: that of end
	flagShut      // the last record was sealed
	flagGiven     // another one seals: see Give
)

// New returns the connection that goes on from p. It keeps nothing of p.
func New(p *Params) (*Conn, error) {
	c := new(Conn)
	if err := c.Init(p); err != nil {
		return nil, err
	}
	return c, nil
}

// Init makes c the connection that goes on from p.
func (c *Conn) Init(p *Params) error {
	in, out, err := p.Keys()
	if err != nil {
		return err
	}
	*c = Conn{}
	if p.Client {
		c.flags = flagClient
	}
	index, _ := findSuite(p.Version, p.Suite)
	if err := c.in.init(index, in, p.In, p.InSeq); err != nil {
		return err
	}
	return c.out.init(index, out, p.Out, p.OutSeq)
}

// In returns the half that opens what the peer sends.
func (c *Conn) In() *Half { return &c.in }

// Out returns the half that seals what this side sends.
func (c *Conn) Out() *Half { return &c.out }

// CountWritten finds out how many of the records that were written before c was made were sealed with its keys,
// and goes on behind them. written holds whole records from the beginning on; scratch has room for the longest
// of them.
//
// Precondition: Params.OutSeq was 0, and nothing was sealed.
func (c *Conn) CountWritten(written, scratch []byte) (count int, err error) {
	return c.out.CountOpened(written, scratch)
}

// Err returns how reading ended: nil while it has not, io.EOF after a close_notify, a RemoteError after another
// alert of the peer, an *Error after a failure of our own finding.
func (c *Conn) Err() error { return c.end.err(c.code) }

// Shut reports whether this side has sealed its last record.
func (c *Conn) Shut() bool { return c.flags&flagShut != 0 }

var errNoParams = errors.New("record: this connection cannot be handed over")

// Params returns from what another Conn goes on where c is. It is an error with TLS 1.2, whose secrets are not
// kept, after an end, after Give, and while a message or a reply is under way.
func (c *Conn) Params() (*Params, error) {
	if !c.in.tls13 || c.end != endNone || c.flags&(flagShut|flagGiven) != 0 || c.midMessage() || c.HasReplies() {
		return nil, errNoParams
	}
	s := &suites[c.in.suite]
	n := s.hashLen()
	return &Params{
		Version: s.version, Suite: s.id, Client: c.flags&flagClient != 0,
		In: append([]byte(nil), c.in.keep[:n]...), Out: append([]byte(nil), c.out.keep[:n]...),
		InSeq: c.in.seq, OutSeq: c.out.seq,
	}, nil
}

// Wipe forgets the keys.
func (c *Conn) Wipe() { *c = Conn{end: endClosed, flags: flagShut} }
