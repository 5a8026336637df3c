package config

import "testing"

func TestBlank(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{`{"a": 1}`, `{"a": 1}`},
		{`[1,]`, `[1 ]`},
		{`[1 , ]`, `[1   ]`},
		{`[[],{},"",true,]`, `[[],{},"",true ]`},
		{"[1,// x\n]", "[1     \n]"},
		{"{\"a\":1,/* x\n\ny */}", "{\"a\":1     \n\n    }"},
		{`[,]`, `[,]`},
		{`{,}`, `{,}`},
		{`[1,,]`, `[1,,]`},
		{`{"a":,}`, `{"a":,}`},
		{`,]`, `,]`},
		{`"a // b" // c`, `"a // b"     `},
		{`"a\" /* b */"`, `"a\" /* b */"`},
		{`/**/1/***/`, `    1     `},
		{`1 / 2`, `1 / 2`},
		{`"open`, `"open`},
		{`"open\`, `"open\`},
		{`//`, `  `},
		{`]]]]`, `]]]]`},
	} {
		got, bad := blank([]byte(tt.in))
		if bad != nil || string(got) != tt.want {
			t.Errorf("blank(%q) = %q, %v; want %q", tt.in, got, bad, tt.want)
		}
	}
}

func TestBlankKeepsItsInput(t *testing.T) {
	t.Parallel()
	in := []byte("[1,] // x")
	if _, bad := blank(in); bad != nil || string(in) != "[1,] // x" {
		t.Errorf("blank changed its input to %q", in)
	}
}
