package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dialWait    = 5 * time.Second
	writeWait   = time.Second            // a target that takes nothing for so long is left alone for a moment
	reopenPause = 20 * time.Millisecond  // between two connections of one attacker
	slowPause   = 500 * time.Millisecond // between two bytes of a slow one
)

// A tally is what an attack did and what came of it. All its attackers write it.
type tally struct {
	opened, refused atomic.Int64 // connections
	sent, received  atomic.Int64 // bytes

	mu   sync.Mutex
	ends map[string]int64 // how the target ended connections
	bad  []string         // what must never happen
}

// ended counts a connection that the target ended.
func (t *tally) ended(how string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ends == nil {
		t.ends = map[string]int64{}
	}
	t.ends[how]++
}

// wrong notes what must never happen.
func (t *tally) wrong(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bad = append(t.bad, fmt.Sprintf(format, args...))
}

// endings lists how connections ended, the most frequent first.
func (t *tally) endings() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := slices.SortedFunc(maps.Keys(t.ends), func(a, b string) int { return int(t.ends[b] - t.ends[a]) })
	var parts []string
	for _, n := range names {
		parts = append(parts, fmt.Sprintf("%s ×%d", n, t.ends[n]))
	}
	return strings.Join(parts, ", ")
}

// A pace bounds the bytes that all attackers send together. Its debt is paid by sleeping, so that writes stay whole.
type pace struct {
	mu    sync.Mutex
	rate  float64 // bytes per second
	ready time.Time
}

// take waits until n bytes may go.
func (p *pace) take(ctx context.Context, n int) error {
	p.mu.Lock()
	now := time.Now()
	if p.ready.Before(now) {
		p.ready = now
	}
	at := p.ready
	p.ready = p.ready.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	p.mu.Unlock()
	return pause(ctx, at.Sub(now))
}

// pause waits, or returns the error of ctx when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// An attacker is one connection of an attack.
type attacker struct {
	net.Conn
	ctx   context.Context
	pace  *pace
	tally *tally
	index int // of the attacker among those of the attack
	r     *bufio.Reader
	end   sync.Once
}

// A dialControl sets options of a socket before it connects.
type dialControl func(network, address string, c syscall.RawConn) error

// smallBuffer lets a connection take no more than a few kilobytes that its reader does not want.
func smallBuffer(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
	return errors.Join(err, failed)
}

// dialAttacker connects. The connection is reset when the attacker leaves: it must not use up the ports of the machine.
func dialAttacker(ctx context.Context, addr string, control dialControl, p *pace, t *tally, index int) (*attacker, error) {
	d := net.Dialer{Timeout: dialWait, Control: control}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	t.opened.Add(1)
	a := &attacker{Conn: c, ctx: ctx, pace: p, tally: t, index: index, r: bufio.NewReader(c)}
	context.AfterFunc(ctx, func() { _ = c.Close() })
	return a, nil
}

// send writes b at the pace of the attack.
func (a *attacker) send(b []byte) error {
	if err := a.pace.take(a.ctx, len(b)); err != nil {
		return err
	}
	for {
		_ = a.SetWriteDeadline(time.Now().Add(writeWait))
		n, err := a.Write(b)
		a.tally.sent.Add(int64(n))
		if b = b[n:]; len(b) == 0 {
			return nil
		}
		var late net.Error
		if !errors.As(err, &late) || !late.Timeout() { // one who takes no more is only slow
			return a.left("", err)
		}
		if a.ctx.Err() != nil {
			return a.ctx.Err()
		}
	}
}

// left counts the end of the connection if the target made it.
func (a *attacker) left(how string, err error) error {
	a.end.Do(func() {
		if a.ctx.Err() != nil {
			return
		}
		if how == "" {
			how = "closed"
		}
		a.tally.ended(how)
	})
	return err
}

// repeat sends b, made anew by next each time, until the connection or the time ends.
func (a *attacker) repeat(next func() []byte) error {
	for {
		if err := a.send(next()); err != nil {
			return err
		}
	}
}

// discard reads until the connection ends, and then ends it for the sender too.
func (a *attacker) discard() {
	n, err := io.Copy(io.Discard, a.r)
	a.tally.received.Add(n)
	_ = a.left("", err)
	_ = a.Close()
}

// open begins a connection of HTTP/2 with our SETTINGS and waits for the target's.
func (a *attacker) open(settings []byte) error {
	if settings == nil {
		settings = appendFrame(nil, frameSettings, 0, 0, nil)
	}
	if err := a.send(append([]byte(preface), settings...)); err != nil {
		return err
	}
	_ = a.SetReadDeadline(time.Now().Add(dialWait))
	for {
		typ, flags, _, _, err := a.frame()
		if err != nil {
			return a.left("", err)
		}
		if typ == frameSettings && flags&flagAck == 0 {
			_ = a.SetReadDeadline(time.Time{})
			return a.send(appendFrame(nil, frameSettings, flagAck, 0, nil))
		}
	}
}

// frame reads a frame and returns the first bytes of its payload.
func (a *attacker) frame() (typ, flags byte, stream uint32, payload [8]byte, err error) {
	var head [frameHeadLen]byte
	if _, err = io.ReadFull(a.r, head[:]); err != nil {
		return
	}
	n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	a.tally.received.Add(int64(frameHeadLen + n))
	k, err := io.ReadFull(a.r, payload[:min(n, len(payload))])
	if err == nil {
		_, err = a.r.Discard(n - k)
	}
	return head[3], head[4], binary.BigEndian.Uint32(head[5:]) & (1<<31 - 1), payload, err
}

// frames reads frames until the connection ends and answers what has to be. It tells seen of each, if given.
func (a *attacker) frames(seen func(typ byte, stream uint32)) {
	how := ""
	for {
		typ, flags, stream, payload, err := a.frame()
		if err != nil {
			_ = a.left(how, err)
			_ = a.Close() // also for the sender: it goes on with another connection
			return
		}
		if seen != nil {
			seen(typ, stream)
		}
		switch {
		case typ == frameGoAway:
			code := binary.BigEndian.Uint32(payload[4:])
			how = fmt.Sprintf("GOAWAY %#x", code)
			if code < uint32(len(codeNames)) {
				how = codeNames[code]
			}
		case typ == framePing && flags&flagAck == 0:
			_ = a.send(appendFrame(nil, framePing, flagAck, 0, payload[:]))
		}
	}
}
