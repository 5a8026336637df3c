package hpack

// A pair is one entry of the static table.
type pair struct{ name, value string }

// staticTable is that of RFC 7541 Appendix A; entry 0 is not used.
var staticTable = [...]pair{
	{},
	{":authority", ""}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"},
	{":scheme", "http"}, {":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"},
	{":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"}, {"accept-charset", ""},
	{"accept-encoding", "gzip, deflate"}, {"accept-language", ""}, {"accept-ranges", ""}, {"accept", ""},
	{"access-control-allow-origin", ""}, {"age", ""}, {"allow", ""}, {"authorization", ""}, {"cache-control", ""},
	{"content-disposition", ""}, {"content-encoding", ""}, {"content-language", ""}, {"content-length", ""},
	{"content-location", ""}, {"content-range", ""}, {"content-type", ""}, {"cookie", ""}, {"date", ""}, {"etag", ""},
	{"expect", ""}, {"expires", ""}, {"from", ""}, {"host", ""}, {"if-match", ""}, {"if-modified-since", ""},
	{"if-none-match", ""}, {"if-range", ""}, {"if-unmodified-since", ""}, {"last-modified", ""}, {"link", ""},
	{"location", ""}, {"max-forwards", ""}, {"proxy-authenticate", ""}, {"proxy-authorization", ""}, {"range", ""},
	{"referer", ""}, {"refresh", ""}, {"retry-after", ""}, {"server", ""}, {"set-cookie", ""},
	{"strict-transport-security", ""}, {"transfer-encoding", ""}, {"user-agent", ""}, {"vary", ""}, {"via", ""},
	{"www-authenticate", ""},
}

// StaticCount is the number of entries of the static table.
const StaticCount = len(staticTable) - 1

// The entries of the static table that stand for a pseudo-field by themselves.
const (
	StaticAuthority  = 1
	StaticMethodGET  = 2
	StaticMethodPOST = 3
	StaticPathRoot   = 4
	StaticPathIndex  = 5
	StaticHTTP       = 6
	StaticHTTPS      = 7
	StaticStatus200  = 8
)

// StaticName returns the index of the first entry of the static table with a name in lower case, 0 if there is none. It
// is for building tables, not for the path of a request.
func StaticName(name string) int {
	for i := 1; i < len(staticTable); i++ {
		if staticTable[i].name == name {
			return i
		}
	}
	return 0
}

// StaticEntry returns the name and value of entry i.
func StaticEntry(i int) (name, value string) { return staticTable[i].name, staticTable[i].value }

// TableSizeDefault is the size of a dynamic table until SETTINGS say otherwise.
const TableSizeDefault = 4096

// entryOverhead is what an entry counts beside its bytes (RFC 7541 section 4.1).
const entryOverhead = 32
