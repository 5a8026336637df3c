//go:build !race

package arena

import "millrace/engine/internal/sys"

func mapRegion(size int) ([]byte, error) { return sys.Map(size) }

// unmap and forget cannot fail on what mapRegion returned; were the kernel to refuse,
// the memory would stay mapped and usable, which is harmless.
func unmap(b []byte)  { _ = sys.Unmap(b) }
func forget(b []byte) { _ = sys.Forget(b) }
