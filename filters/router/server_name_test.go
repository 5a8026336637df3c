package router

import (
	"strings"
	"testing"
)

func TestAppendServerName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a.", 126) + "a"
	for _, tt := range []struct{ authority, name, withAddresses string }{
		{"shop.example.com", "shop.example.com", ""},
		{"Shop.Example.COM:8443", "shop.example.com", ""},
		{"shop.example.com.", "shop.example.com", ""},
		{"shop.example.com.:443", "shop.example.com", ""},
		{"xn--bcher-kva.example", "xn--bcher-kva.example", ""},
		{"my_service", "my_service", ""},
		{"my-service:", "my-service", ""},
		{long, long, ""},
		{long + "a", "", ""},
		{"10.0.0.1", "", "10.0.0.1"},
		{"10.0.0.1:80", "", "10.0.0.1"},
		{"[2001:db8::1]", "", "2001:db8::1"},
		{"[2001:db8::1]:443", "", "2001:db8::1"},
		{"[fe80::1%25eth0]:443", "", ""},
		{"2001:db8::1", "", ""},
		{"[10.0.0.1]x", "", ""},
		{"1.2.3", "", ""},
		{"", "", ""},
		{":80", "", ""},
		{".", "", ""},
		{"..", "", ""},
		{"a..b", "", ""},
		{".a", "", ""},
		{"a b", "", ""},
		{"user@host", "", ""},
		{"a\x00b", "", ""},
		{"bücher.example", "", ""},
	} {
		if got := string(appendServerName(nil, []byte(tt.authority), false)); got != tt.name {
			t.Errorf("the name of %q is %q, want %q", tt.authority, got, tt.name)
		}
		want := tt.name + tt.withAddresses
		if got := string(appendServerName([]byte("x"), []byte(tt.authority), true)); got != "x"+want {
			t.Errorf("the name of %q with addresses is %q behind x, want %q", tt.authority, got, want)
		}
	}
}

// FuzzServerName: what is asked for is a host name or an address, whatever the client says.
func FuzzServerName(f *testing.F) {
	for _, s := range []string{"a.example:80", "[::1]:443", "..", "10.0.0.1", "a%00b"} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, authority []byte, addresses bool) {
		name := appendServerName(nil, authority, addresses)
		if len(name) > serverNameMax {
			t.Errorf("a name of %d bytes", len(name))
		}
		for _, c := range name {
			if !isNameByte(c) && c != ':' || c >= 'A' && c <= 'Z' && !addresses {
				t.Errorf("the name of %q is %q", authority, name)
			}
		}
	})
}
