package record

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// other seals as the kernel does: from a Sealer.
func (s *Sealer) other(t *testing.T) *Half {
	t.Helper()
	index, ok := findSuite(s.Version, s.Suite)
	if !ok {
		t.Fatalf("no suite %x", s.Suite)
	}
	h := &Half{}
	if err := h.init(index, Keys{Key: s.Key, IV: s.IV[:]}, nil, s.Seq); err != nil {
		t.Fatal(err)
	}
	return h
}

// TestGive: another one goes on sealing, in the middle of the connection and after a KeyUpdate, and what is received goes on as before.
func TestGive(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			c, s := pair(t, k)
			b, err := s.AppendData(nil, []byte("own"))
			if k.version == VersionTLS13 && err == nil {
				b, err = s.AppendKeyUpdate(b, false)
			}
			if err == nil {
				b, err = s.AppendData(b, []byte(" and own"))
			}
			if err != nil {
				t.Fatal(err)
			}
			sealer, ok := s.Sealer()
			if !ok {
				t.Fatal("no Sealer")
			}
			if version, suite := s.Suite(); version != k.version || sealer.Version != version || sealer.Suite != suite {
				t.Errorf("version %x, suite %x", version, suite)
			}
			s.Give()
			h := sealer.other(t)
			before := len(b)
			if b, err = h.Seal(b, TypeApplicationData, []byte(", given")); err != nil {
				t.Fatal(err)
			}
			if got := len(b) - before - len(", given"); got != sealer.Expansion {
				t.Errorf("a record is longer by %d, Expansion is %d", got, sealer.Expansion)
			}
			msg, ok := s.LastWord()
			if b, err = h.Seal(b, TypeAlert, msg[:]); err != nil || !ok {
				t.Fatal(err, ok)
			}
			dst := make([]byte, 1000)
			n, used, err := c.Read(dst, b)
			if string(dst[:n]) != "own and own, given" || used != len(b) || err != io.EOF {
				t.Errorf("Read = %q, %d of %d, %v", dst[:n], used, len(b), err)
			}
			up, err := c.AppendData(nil, []byte("still heard"))
			if n, _, rerr := s.Read(dst, up); string(dst[:n]) != "still heard" || err != nil || rerr != nil {
				t.Errorf("the other direction: %q, %v, %v", dst[:n], err, rerr)
			}
		})
	}
}

// TestGiven: nothing is sealed any more, and no key is left.
func TestGiven(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		_, s := pair(t, k)
		s.Give()
		if !s.Given() || s.out.aead != nil || !bytes.Equal(s.out.keep[:], make([]byte, len(s.out.keep))) {
			t.Errorf("%s: a key is left", k.name)
		}
		if _, ok := s.Sealer(); ok {
			t.Errorf("%s: a second Sealer", k.name)
		}
		if _, err := s.SealData(make([]byte, 1000), 10); err != ErrShut {
			t.Errorf("%s: SealData: %v", k.name, err)
		}
		for name, f := range map[string]func([]byte) ([]byte, error){
			"AppendData":      func(b []byte) ([]byte, error) { return s.AppendData(b, []byte("x")) },
			"AppendKeyUpdate": func(b []byte) ([]byte, error) { return s.AppendKeyUpdate(b, false) },
			"AppendAlert":     func(b []byte) ([]byte, error) { return s.AppendAlert(b, InternalError) },
			"AppendClose":     s.AppendClose,
		} {
			if b, err := f(nil); len(b) > 0 || err != ErrShut {
				t.Errorf("%s: %s = %x, %v", k.name, name, b, err)
			}
		}
		if _, err := s.Params(); err == nil {
			t.Errorf("%s: Params: no error", k.name)
		}
		if s.Rests() {
			t.Errorf("%s: rests", k.name)
		}
	}
}

// TestGivenKeyUpdate: the peer may change its own key, and not ask for ours.
func TestGivenKeyUpdate(t *testing.T) {
	t.Parallel()
	c, s := pair(t, tls13aes)
	s.Give()
	b, err := c.AppendKeyUpdate(nil, false)
	if err == nil {
		b, err = c.AppendData(b, []byte("x"))
	}
	if n, _, rerr := s.Read(make([]byte, 100), b); n != 1 || err != nil || rerr != nil || s.HasReplies() {
		t.Fatalf("after a KeyUpdate: %d, %v, %v, HasReplies = %t", n, err, rerr, s.HasReplies())
	}
	if b, err = c.AppendKeyUpdate(b[:0], true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Read(make([]byte, 100), b); !errors.Is(err, ErrKeyUpdate) || !s.AlertDue() {
		t.Fatalf("after a KeyUpdate that asks for ours: %v, AlertDue = %t", err, s.AlertDue())
	}
	msg, ok := s.LastWord()
	if want := [2]byte{levelFatal, byte(InternalError)}; msg != want || !ok {
		t.Errorf("LastWord = %v, %t; want %v", msg, ok, want)
	}
	if _, ok := s.LastWord(); ok || s.HasReplies() {
		t.Error("a second last word")
	}
	c, s = pair(t, tls13aes)
	s.Give()
	s.in.seq = RekeyRecords
	if s.HasReplies() {
		t.Error("asks for a KeyUpdate that it cannot send")
	}
	if _, _, err := c.Read(nil, nil); err != nil {
		t.Error(err)
	}
}

// TestSealerLimits: what a key has sealed counts, and a reply goes first.
func TestSealerLimits(t *testing.T) {
	t.Parallel()
	_, s := pair(t, tls13aes)
	s.out.seq = 1000
	if got, _ := s.Sealer(); got.BytesMax != SealedBytesMax-1000<<14 || got.Seq != 1000 {
		t.Errorf("BytesMax = %d, Seq = %d", got.BytesMax, got.Seq)
	}
	_, s = pair(t, tls12aes)
	if _, err := s.AppendData(nil, make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Sealer(); got.BytesMax != SealedBytesMax-5000 {
		t.Errorf("TLS 1.2: BytesMax = %d", got.BytesMax)
	}
	c, s := pair(t, tls13aes)
	b, _ := c.AppendKeyUpdate(nil, true)
	if _, _, err := s.Read(make([]byte, 100), b); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Sealer(); ok {
		t.Error("a Sealer although a KeyUpdate is due")
	}
}
