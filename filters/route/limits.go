package route

// Limits of a table. They bound what a configuration may ask for, not what a
// request may send: see codec.Limits for that.
const (
	regexLenMax        = 4096    // bytes of one regular expression
	regexInstMax       = 2000    // instructions of one compiled; with the path it bounds the time
	routesMax          = 1 << 24 // routes of one table
	textBytesMax       = 1 << 30 // bytes of all paths and prefixes of one table: offsets have 32 bits
	mutationsPerLevel  = 128     // header mutations of one level (route, virtual host, table)
	weightsPerRoute    = 1024    // clusters of one weighted route
	conditionsPerRoute = 64      // header, query and cookie matchers of one route
)
