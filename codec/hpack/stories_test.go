package hpack

import (
	"bufio"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// A story is what one encoder made of the header lists of one connection.
type story struct {
	Name  string
	Cases []struct {
		TableSize *uint32 `json:"header_table_size"`
		Wire      string
		Headers   []map[string]string
	}
}

func stories(t *testing.T) (list []story) {
	t.Helper()
	file, err := os.Open("testdata/stories.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var s story
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	if lines.Err() != nil || len(list) != 128 {
		t.Fatalf("%d stories, %v", len(list), lines.Err())
	}
	return list
}

// decodeBlock returns the fields of a block as "name: value" lines.
func decodeBlock(d *Decoder, block []byte) (string, Error) {
	var text strings.Builder
	var buf []byte
	d.Begin()
	for len(block) > 0 {
		out, n, f, err := d.Next(buf[:0], block, 64<<10)
		if err != ErrNone {
			return "", err
		}
		if block, buf = block[n:], out; f.End >= 0 {
			text.Write(out[f.Off:f.Value])
			text.WriteString(": ")
			text.Write(out[f.Value:f.End])
			text.WriteByte('\n')
		}
	}
	return text.String(), d.End()
}

func (s *story) want(i int) string {
	var text strings.Builder
	for _, h := range s.Cases[i].Headers {
		for name, value := range h {
			text.WriteString(name + ": " + value + "\n")
		}
	}
	return text.String()
}

// TestStories decodes what other encoders wrote, and encodes it again: 13,536 blocks.
func TestStories(t *testing.T) {
	t.Parallel()
	in, out := 0, 0
	for _, s := range stories(t) {
		dec, enc, again := NewDecoder(TableSizeDefault), NewEncoder(TableSizeDefault), NewDecoder(TableSizeDefault)
		for i := range s.Cases {
			if size := s.Cases[i].TableSize; size != nil {
				dec.SetAgreed(*size)
				again.SetAgreed(*size)
				enc.SetMax(min(*size, TableSizeDefault))
			}
			wire, err := hex.DecodeString(s.Cases[i].Wire)
			if err != nil {
				t.Fatal(err)
			}
			want := s.want(i)
			if got, err := decodeBlock(&dec, wire); got != want || err != ErrNone {
				t.Fatalf("%s, block %d: %v\n%swant\n%s", s.Name, i, err, got, want)
			}
			block := enc.Begin(nil)
			for _, h := range s.Cases[i].Headers {
				for name, value := range h {
					block = enc.Append(block, StaticName(name), []byte(name), []byte(value), Mode(len(value)%3))
				}
			}
			in, out = in+len(wire), out+len(block)
			if got, err := decodeBlock(&again, block); got != want || err != ErrNone {
				t.Fatalf("%s, block %d, encoded anew: %v\n%swant\n%s", s.Name, i, err, got, want)
			}
		}
	}
	t.Logf("%d bytes came, %d were written", in, out)
}
