// Package codec is the vocabulary of messages: heads, fields, events, limits and
// errors, and the contracts [Server] and [Client] that a protocol implements.
//
// It opens no sockets, reads no clocks and starts no goroutines. The protocols
// are its subpackages (h1, later h2); the bytes come from engine, by way of
// filters/httpconn and filters/router, which also decide what a field may mean.
//
//	bytes ──Feed──▶ Server ──Event──▶ filters ──▶ Client ──AppendX──▶ bytes
//	bytes ◀─AppendX─ Server ◀──────── filters ◀──Event── Client ◀──Feed── bytes
//
// # Ownership
//
// A head is lent to Feed and filled there. Its fields are spans over the bytes
// that were fed, so it is valid while those bytes are; [Fields.Own] moves it to
// memory of the caller for longer. The first change to a head that is not owned copies its
// bytes into storage that the head keeps for reuse, so a head from a free list
// allocates nothing in steady state.
//
// # Limits
//
// [Limits] names every bound; [DefaultLimits] has the defaults.
package codec
