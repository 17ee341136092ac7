package recordbatch

import (
	"encoding/binary"
	"hash/crc32"
)

// FixCRC makes the checksum of the batch that b claims to be right.
func FixCRC(b []byte) {
	if h, err := ParseHeader(b); err == nil && h.Size <= len(b) {
		binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:h.Size], castagnoli))
	}
}
