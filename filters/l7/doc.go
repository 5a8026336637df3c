// Package l7 holds the HTTP filters: one file each, and one table, [Builtin].
//
// A filter sees requests and responses through [filters.Stream] and knows neither the
// protocol nor the upstream. The router, which is the end of every chain, is filters/router.
// To write a filter, copy the shortest file here, and add its line to the table.
//
// # Ownership
//
// A filter object serves one connection manager on one loop; its counters have that one writer.
package l7
