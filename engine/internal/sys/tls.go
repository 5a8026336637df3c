package sys

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What linux/tls.h has of TLS in the kernel.
const (
	tlsTX            = 1
	tlsSetRecordType = 1

	tlsSeqBytes   = 8
	tlsCryptoMax  = 64 // more than the longest struct tls12_crypto_info_*
	tlsSaltBytes  = 4
	tlsNonceBytes = 12
)

// A TLSCipher is the number that the kernel has for the AEAD of a cipher suite.
type TLSCipher uint16

// The ciphers that are of use.
const (
	TLSCipherAES128GCM        TLSCipher = 51
	TLSCipherAES256GCM        TLSCipher = 52
	TLSCipherChaCha20Poly1305 TLSCipher = 54
)

// TLSSeal is what the kernel needs to seal TLS records.
type TLSSeal struct {
	Version uint16 // as on the wire
	Cipher  TLSCipher
	Key     []byte
	IV      [tlsNonceBytes]byte // with AES-GCM of TLS 1.2, only the first four bytes
	Seq     uint64              // of the next record
}

// append appends the struct tls12_crypto_info_* of s: version, cipher, IV, key, salt, sequence number. The salt of AES-GCM is the
// first four bytes of its nonce.
func (s *TLSSeal) append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, s.Version)
	b = binary.NativeEndian.AppendUint16(b, uint16(s.Cipher))
	seq := binary.BigEndian.AppendUint64(nil, s.Seq)
	switch {
	case s.Cipher == TLSCipherChaCha20Poly1305:
		return append(append(append(b, s.IV[:]...), s.Key...), seq...)
	case s.Version == 0x0303: // the explicit nonce goes on as the sequence number does
		b = append(b, seq...)
	default:
		b = append(b, s.IV[tlsSaltBytes:]...)
	}
	return append(append(append(b, s.Key...), s.IV[:tlsSaltBytes]...), seq...)
}

// SetTLSSeal makes the kernel seal what is written to a connected TCP socket from now on. After an error it
// does not.
func SetTLSSeal(fd int, s *TLSSeal) syscall.Errno {
	if errno := SetBytes(fd, unix.SOL_TCP, unix.TCP_ULP, []byte("tls")); errno != 0 {
		return errno
	}
	info := s.append(make([]byte, 0, tlsCryptoMax))
	errno := SetBytes(fd, unix.SOL_TLS, tlsTX, info)
	clear(info)
	return errno
}

// TLSSealSeq returns the sequence number of the next record that the kernel seals on fd.
func TLSSealSeq(fd int, version uint16, cipher TLSCipher) (uint64, syscall.Errno) {
	s := TLSSeal{Version: version, Cipher: cipher, Key: make([]byte, cipher.keyBytes())}
	info := s.append(make([]byte, 0, tlsCryptoMax))
	size := uint32(len(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_TLS, tlsTX,
		uintptr(unsafe.Pointer(unsafe.SliceData(info))), uintptr(unsafe.Pointer(&size)), 0)
	seq := binary.BigEndian.Uint64(info[len(info)-tlsSeqBytes:])
	clear(info)
	return seq, errno
}

func (c TLSCipher) keyBytes() int {
	if c == TLSCipherAES128GCM {
		return 16
	}
	return 32
}

// SendTLSRecord sends one record of the given type on a socket whose bytes the kernel seals.
func SendTLSRecord(fd int, typ byte, b []byte) syscall.Errno {
	control := appendHeader(nil, 1, unix.SOL_TLS, tlsSetRecordType)
	control = appendPadding(append(control, typ))
	var iov Iovec
	SetIovec(&iov, b)
	msg := unix.Msghdr{Iov: &iov, Iovlen: 1, Control: unsafe.SliceData(control), Controllen: uint64(len(control))}
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_NOSIGNAL)
	return errno
}

// TCPWritten returns how many bytes TCP has taken on fd since it was connected, sent or not. What the kernel has sealed and TCP
// has no room for is not among them.
func TCPWritten(fd int) (uint64, syscall.Errno) {
	for {
		acked, errno := tcpAcked(fd)
		if errno != 0 {
			return 0, errno
		}
		var out int32 // written, and not acknowledged
		if _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCOUTQ, uintptr(unsafe.Pointer(&out))); errno != 0 {
			return 0, errno
		}
		if again, errno := tcpAcked(fd); errno != 0 || again == acked { // else one moved from the second to the first
			return acked + uint64(out), errno
		}
	}
}

// tcpAcked returns how many bytes the peer has acknowledged.
func tcpAcked(fd int) (uint64, syscall.Errno) {
	var info unix.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno == 0 && info.State == tcpClosed {
		errno = unix.ENOTCONN
	}
	return info.Bytes_acked, errno
}

// tcpClosed is TCP_CLOSE: the connection was reset. net/tcp_states.h
const tcpClosed = 7
