// Package route decides where a request goes: a pure function over an immutable table.
//
//	Config ──Compile──▶ Table ──Match(Input)────▶ Route ──▶ Cluster, AppendPath, AppendHost, …
//	                      └─────Explain(Input)──▶ Route and Trail: each candidate and its reason
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
// index: they are tried in order, up to the best route found otherwise. So are routes which
// differ in nothing but conditions.
//
// # How a request is changed
//
// In this order: [Route.ApplyRequest], [Route.AppendHost], [Route.AppendPath]. A host made
// from the path is made from the path as it came. A response, ours too, gets [Route.ApplyResponse].
//
// # Limits
//
// Every limit is a constant in limits.go. Regular expressions run in time linear
// in the path (RE2) and are limited in length and in size when compiled.
//
// # Memory
//
// Routes lie in one slice, their texts in a few chunks, and what many routes have in
// common they share: a table of 100,000 routes takes 25 MB in about a thousand objects
// (BenchmarkCompile), and adds some 5 ms of marking to a collection (BenchmarkCollect).
//
// # Deviations from Envoy
//
//   - A route that can never be reached, a prefix without "/" in front, a path with "?" and a domain that no
//     host can be are errors, not silence.
//   - Fields that frame a message (Content-Length, Transfer-Encoding, Connection and their kin) cannot
//     be added or removed.
//   - append_if_exists_or_add always adds a field of its own; Envoy joins the values of some headers with ",".
//   - A host taken from a header or path is used only if it can be a host, and a path made by a regular
//     expression gets "/" in front if it lacks one.
package route
