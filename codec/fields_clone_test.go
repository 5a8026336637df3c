package codec

import "testing"

// TestFieldsClone: a copy keeps its fields whatever becomes of the original and of the bytes it was parsed from.
func TestFieldsClone(t *testing.T) {
	t.Parallel()
	buf := []byte("x-a:one")
	var f Fields
	f.SetBuffer(buf)
	f.AppendSpan(FieldOther, Span{0, 3}, Span{4, 3})
	c := f.Clone()
	copy(buf, "y-b:two")
	f.Reset()
	f.AddString("x-other", "3")
	c.AddString("via", "4")
	if got := string(c.Lookup("x-a")); got != "one" || c.Len() != 2 || string(c.Get(FieldVia)) != "4" {
		t.Errorf("x-a is %q of %d fields", got, c.Len())
	}
	if f.Len() != 1 {
		t.Errorf("the original has %d fields", f.Len())
	}
}
