// Package ascii holds the byte classes of HTTP and the small scans and
// conversions over them, without allocation.
//
// It knows nothing of messages; codec and its protocols do.
package ascii
