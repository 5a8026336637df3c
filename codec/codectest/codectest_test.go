package codectest

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestReadCases(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const text = `# a comment
case one
want ok 2, 400
send GET "/"\r\n\x00
fill 3 ab

case two
want ok 0, incomplete
send  x

case three
want 431

case four
want ok 1
`
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cases, err := ReadCases(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range cases {
		cases[i].Place = filepath.Base(cases[i].Place)
	}
	want := []Case{
		{Name: "one", Place: "a.txt:2", Input: []byte("GET \"/\"\r\n\x00ababab"), Requests: 2, Status: 400},
		{Name: "two", Place: "a.txt:7", Input: []byte(" x"), Incomplete: true},
		{Name: "three", Place: "a.txt:11", Status: 431},
		{Name: "four", Place: "a.txt:14", Requests: 1},
	}
	if !reflect.DeepEqual(cases, want) {
		t.Errorf("ReadCases = %+v\nwant %+v", cases, want)
	}
}

func TestReadCasesErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"send x", "case a\nwat", "case a\nwant soon", "case a\nwant ok x", "case a\nsend \\q",
		"case a\nfill x y", "case a\nfill 1 \\q"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadCases(dir); err == nil {
			t.Errorf("ReadCases of %q: no error", text)
		}
	}
	if _, err := ReadCases(t.TempDir()); err == nil {
		t.Error("ReadCases of an empty directory: no error")
	}
}

func TestSplits(t *testing.T) {
	t.Parallel()
	in := []byte("abcde")
	for _, pieces := range [][][]byte{Halves(in, 0), Halves(in, 3), Halves(in, 5), Halves(in, 100), Bytes(in), Every(in, 2),
		Every(in, 5), Every(in, 9)} {
		if got := bytes.Join(pieces, nil); !bytes.Equal(got, in) {
			t.Errorf("pieces %q are %q together; want %q", pieces, got, in)
		}
	}
	if got := len(Every(in, 2)); got != 3 {
		t.Errorf("Every(%q, 2) gives %d pieces; want 3", in, got)
	}
}
