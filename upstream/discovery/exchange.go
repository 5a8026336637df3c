package discovery

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// exchange asks one server: by UDP, and by TCP if the answer is cut off. A server that does not know EDNS0 is asked
// without.
func exchange(ctx context.Context, server netip.AddrPort, q dnsmessage.Question, timeout time.Duration) (records, error) {
	got, err := attempt(ctx, "udp", server, q, timeout, true)
	var refused serverError
	if errors.As(err, &refused) && (refused.code == dnsmessage.RCodeFormatError || refused.code == dnsmessage.RCodeNotImplemented) {
		got, err = attempt(ctx, "udp", server, q, timeout, false)
	}
	if errors.Is(err, errTruncated) {
		got, err = attempt(ctx, "tcp", server, q, timeout, true)
	}
	return got, err
}

// attempt asks once, from a port of its own that the kernel picks by chance, with an ID picked by chance.
func attempt(ctx context.Context, network string, server netip.AddrPort, q dnsmessage.Question, timeout time.Duration, edns bool) (records, error) {
	id := uint16(rand.Uint32())
	buf := make([]byte, 2, 512)
	buf, err := appendQuery(buf, id, q, edns)
	if err != nil {
		return records{}, err
	}
	binary.BigEndian.PutUint16(buf, uint16(len(buf)-2))
	c, err := dial(ctx, network, server, timeout)
	if err != nil {
		return records{}, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if network == "tcp" {
		return overTCP(c, buf, id, q)
	}
	return overUDP(c, buf[2:], id, q)
}

// dial connects to a server. The connection has a deadline. A net.Dialer for UDP, which has nothing to wait for, would cost
// as much as all the rest of a question.
func dial(ctx context.Context, network string, server netip.AddrPort, timeout time.Duration) (c net.Conn, err error) {
	deadline := time.Now().Add(timeout)
	if network == "tcp" {
		d := net.Dialer{Deadline: deadline}
		c, err = d.DialContext(ctx, network, server.String())
	} else {
		c, err = net.DialUDP(network, nil, net.UDPAddrFromAddrPort(server))
	}
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(deadline)
}

// answerBytesMax is the longest answer by UDP that is read. Servers are told udpBytesMax.
const answerBytesMax = 4096

// answerBuffers are lent to questions by UDP: thousands of names ask all the time.
var answerBuffers = sync.Pool{New: func() any { return new([answerBytesMax]byte) }}

// overUDP sends a query and waits for its answer. Datagrams that are not the answer are forged, or late: it waits on.
func overUDP(c net.Conn, query []byte, id uint16, q dnsmessage.Question) (records, error) {
	if _, err := c.Write(query); err != nil {
		return records{}, err
	}
	buf := answerBuffers.Get().(*[answerBytesMax]byte)
	defer answerBuffers.Put(buf) // nothing of an answer points into it
	for {
		n, err := c.Read(buf[:])
		if err != nil {
			return records{}, err
		}
		got, err := parseAnswer(buf[:n], id, q)
		if !errors.Is(err, errNotOurs) {
			return got, err
		}
	}
}

// overTCP is overUDP for a stream: each message comes behind its length.
func overTCP(c net.Conn, query []byte, id uint16, q dnsmessage.Question) (records, error) {
	if _, err := c.Write(query); err != nil {
		return records{}, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return records{}, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, buf); err != nil {
		return records{}, err
	}
	return parseAnswer(buf, id, q)
}
