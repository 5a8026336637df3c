package record

import (
	"bytes"
	"testing"
)

// TestRest lets both ends rest before each record, also before one behind a KeyUpdate: nothing may differ.
func TestRest(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			c, s := pair(t, k)
			twin, _ := pair(t, k)
			dst := make([]byte, 1000)
			for i := range 8 {
				data := bytes.Repeat([]byte{byte(i)}, 100)
				c.Rest()
				s.Rest()
				if !c.Rests() || !s.Rests() {
					t.Fatal("they do not rest")
				}
				var b, want []byte
				if k.version == VersionTLS13 && i == 4 {
					b, _ = c.AppendKeyUpdate(nil, false)
					want, _ = twin.AppendKeyUpdate(nil, false)
					c.Rest()
				}
				b, err := c.AppendData(b, data)
				if err != nil {
					t.Fatal(err)
				}
				if want, _ = twin.AppendData(want, data); !bytes.Equal(b, want) {
					t.Fatalf("record %d: %x, without a rest %x", i, b, want)
				}
				if got, left, err := collect(s, dst, b); !bytes.Equal(got, data) || left != 0 || err != nil {
					t.Fatalf("record %d: read %x, %d left, %v", i, got, left, err)
				}
			}
			if want := twin.out.seq; c.out.seq != want || s.in.seq != want {
				t.Errorf("sequence numbers %d out, %d in, want %d", c.out.seq, s.in.seq, want)
			}
		})
	}
}

// A connection whose keys were wiped does not make any anew.
func TestRestAfterWipe(t *testing.T) {
	t.Parallel()
	c, _ := pair(t, tls13aes)
	c.Wipe()
	defer func() {
		if recover() == nil {
			t.Error("a record was sealed without a key")
		}
	}()
	_, _ = c.out.Seal(nil, TypeApplicationData, []byte("x"))
}

// BenchmarkWake is what the first record after a rest costs more.
func BenchmarkWake(b *testing.B) {
	for _, k := range kinds() {
		b.Run(k.name, func(b *testing.B) {
			c, _ := pair(b, k)
			b.ReportAllocs()
			for b.Loop() {
				c.out.aead = nil
				c.out.wake()
			}
		})
	}
}
