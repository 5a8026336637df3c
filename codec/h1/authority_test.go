package h1

import "testing"

func TestValidAuthority(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in            string
		any, withPort bool // without and with needPort
	}{
		{"", false, false},
		{":80", false, false},
		{"a", true, false},
		{"a.example", true, false},
		{"a_b.example", true, false},
		{"a.example:", true, false},
		{"a.example:0", true, false},
		{"a.example:1", true, true},
		{"a.example:65535", true, true},
		{"a.example:00080", true, true},
		{"a.example:65536", false, false},
		{"a.example:99999999999999999999", false, false},
		{"a.example:8o", false, false},
		{"a.example:+1", false, false},
		{"a:b:1", false, false},
		{"127.0.0.1:80", true, true},
		{"%41.example:80", true, true},
		{"%4.example", false, false},
		{"%", false, false},
		{"a%zz", false, false},
		{"[::1]", true, false},
		{"[::1]:80", true, true},
		{"[::ffff:1.2.3.4]:80", true, true},
		{"[::1]80", false, false},
		{"[]", false, false},
		{"[1]", false, false},
		{"[::g]", false, false},
		{"[::1%25eth0]", false, false},
		{"[::1", false, false},
		{"::1]", false, false},
		{"a[b]", false, false},
		{"a]:80", false, false},
		{"u@a", false, false},
		{"a/b", false, false},
		{"a?b", false, false},
		{"a#b", false, false},
		{"a\\b", false, false},
		{"a,b", false, false},
		{"a b", false, false},
		{"a\x00", false, false},
		{"\xc3\xa4", false, false},
	} {
		if got := validAuthority([]byte(tt.in), false); got != tt.any {
			t.Errorf("validAuthority(%q, false) = %v; want %v", tt.in, got, tt.any)
		}
		if got := validAuthority([]byte(tt.in), true); got != tt.withPort {
			t.Errorf("validAuthority(%q, true) = %v; want %v", tt.in, got, tt.withPort)
		}
	}
}
