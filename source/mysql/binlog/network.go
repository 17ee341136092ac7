package binlog

import "net/netip"

const maxInet = 48 // bytes of an address in text

// appendInet appends an IPv4 or IPv6 address as MariaDB prints it.
func appendInet(dst, p []byte) []byte {
	addr, _ := netip.AddrFromSlice(p) // 4 or 16 bytes
	return addr.AppendTo(dst)
}

// uuidOrder writes a UUID as its text orders it. MariaDB stores those of the versions 1 to 5 with their five parts in
// reverse, so that they sort by time: node, variant, then the time from its high part to its low one.
func uuidOrder(dst, p []byte) {
	if p[6]&0x80 == 0 || p[8] == 0 || p[8] >= 0x80 {
		copy(dst, p)
		return
	}
	copy(dst[0:4], p[12:16])
	copy(dst[4:6], p[10:12])
	copy(dst[6:8], p[8:10])
	copy(dst[8:10], p[6:8])
	copy(dst[10:16], p[0:6])
}
