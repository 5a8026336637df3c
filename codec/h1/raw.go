package h1

// Raw reports whether data being written is the bytes of the body and nothing else: no
// chunks around them. Then data of unknown length may be moved past the codec, as long as it
// is told how much, by AppendDataPrefix.
func (w *writer) Raw() bool {
	return w.head && !w.done && (w.mode == modeLength || w.mode == modeClose || w.mode == modeTunnel)
}
