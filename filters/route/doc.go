// Package route decides where a request goes: a pure function over an immutable table.
//
//	Config ──Compile──▶ Table ──Match(Input)──▶ Route ──▶ Cluster, AppendPath, AppendLocation, …
//	                      └─────Explain(Input)─▶ Route + Trail (every candidate and its reason)
//
// A [Table] is made once by the control goroutine with [Compile] and read by any
// number of loops: nothing in it is written after that. [Table.Match] looks at an
// [Input] only (the head, a few facts of the connection, a random value and a
// view of runtime values), so recording the input is enough to replay the decision.
//
// # How a match is found
//
// The virtual host is found by hashed lookup: exact domain, longest suffix
// wildcard, longest prefix wildcard, "*". Inside it the first route that matches
// wins. A virtual host of a few routes is scanned; one of many has its
// paths and prefixes in a radix trie which keeps the order of the file, so that
// only routes whose path fits are looked at. Routes with a regular expression have no
// index: they are tried in order, up to the best route found otherwise.
//
// # Limits
//
// Every limit is a constant in limits.go. Regular expressions run in time linear
// in the path (RE2) and are limited in length and in size when compiled.
//
// # Memory
//
// Routes lie in one slice. Their text lies in one string and is referred to by
// offsets, so a big table gives the garbage collector little to follow.
package route
