package record

import (
	"fmt"
	"io"
	"runtime"
	"testing"
)

var benchSizes = []int{200, MaxPlaintext}

func BenchmarkSeal(b *testing.B) {
	for _, k := range []kind{tls13aes, tls13chacha, tls12aes} {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", k.name, n), func(b *testing.B) {
				c, _ := pair(b, k)
				buf := make([]byte, RecordLenMax)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					c.out.seq = 7 // the same record each time: no limit is reached
					if _, err := c.SealData(buf, n); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, k := range []kind{tls13aes, tls13chacha, tls12aes} {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", k.name, n), func(b *testing.B) {
				c, s := pair(b, k)
				rec := seal(b, c, TypeApplicationData, make([]byte, n)...)
				dst := make([]byte, RecordLenMax)
				seq := s.in.seq
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					s.in.seq = seq
					if m, _, err := s.Read(dst, rec); m != n || err != nil {
						b.Fatal(m, err)
					}
				}
			})
		}
	}
}

// BenchmarkCryptoTLS is what crypto/tls takes for the same: one record written, or read.
func BenchmarkCryptoTLS(b *testing.B) {
	for _, k := range []kind{tls13aes, tls13chacha, tls12aes} {
		for _, n := range benchSizes {
			data := make([]byte, n)
			b.Run(fmt.Sprintf("Write/%s/%d", k.name, n), func(b *testing.B) {
				x := establish(b, k, false)
				x.peer.Write(make([]byte, 200<<10)) // records are of full size from here
				out := x.far.out
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					out.b = out.b[:0]
					if _, err := x.peer.Write(data); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("Read/%s/%d", k.name, n), func(b *testing.B) {
				x := establish(b, k, false) // ours seals a store of records, as many as are asked for
				dst := make([]byte, n)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				var rec []byte
				for b.Loop() {
					if len(x.far.in.b) == 0 {
						b.StopTimer()
						rec = rec[:0]
						for range 64 {
							rec, _ = x.c.AppendData(rec, data)
						}
						x.far.in.b = append(x.far.in.b[:0], rec...)
						b.StartTimer()
					}
					if _, err := io.ReadFull(x.peer, dst); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkNew is what a connection costs once, and BenchmarkKeyUpdate what a peer can make us do with 22 bytes.
func BenchmarkNew(b *testing.B) {
	for _, k := range []kind{tls13aes, tls13chacha, tls12aes} {
		b.Run(k.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				pair(b, k) // two
			}
		})
	}
}

func BenchmarkKeyUpdate(b *testing.B) {
	c, _ := pair(b, tls13aes)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.in.next(); err != nil {
			b.Fatal(err)
		}
	}
}

// heapOf returns the bytes of heap for each of n things that make makes.
func heapOf(n int, make func() any) uint64 {
	keep := append([]any(nil), make())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		keep = append(keep, make())
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(keep)
	return (after.HeapAlloc - before.HeapAlloc) / uint64(n)
}

// TestMemory: 10,000 connections take at most 1.75 KiB of heap each, both directions, the list that holds them
// included.
func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has its own idea of sizes")
	}
	for _, tt := range []struct {
		kind kind
		max  uint64
	}{{tls13aes, 1792}, {kind{"1.3 AES-256", VersionTLS13, 0x1302}, 1792}, {tls12aes, 1792}, {tls13chacha, 320}} {
		got := heapOf(10_000, func() any {
			_, s := pair(t, tt.kind)
			return s
		})
		t.Logf("%s: %d bytes each", tt.kind.name, got)
		if got > tt.max {
			t.Errorf("%s: %d bytes of heap each, want at most %d", tt.kind.name, got, tt.max)
		}
	}
	if testing.Verbose() {
		logCryptoTLS(t)
	}
}

// logCryptoTLS tells what a server of crypto/tls takes, for comparison, before and after it received a full record.
func logCryptoTLS(t *testing.T) {
	for _, k := range []kind{tls13aes, tls12aes} {
		config := tlsConfig(k)
		for _, n := range []int{100, MaxPlaintext} {
			dst := make([]byte, n)
			got := heapOf(100, func() any {
				x := establishWith(t, k, true, config)
				x.send(t, dst)
				if _, err := io.ReadFull(x.peer, dst); err != nil {
					t.Fatal(err)
				}
				x.far.in.b, x.far.out.b = nil, nil // the wire is not part of it
				return x.peer
			})
			t.Logf("crypto/tls %s, after %d bytes: %d bytes each", k.name, n, got)
		}
	}
}
