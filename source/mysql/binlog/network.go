package binlog

import "strconv"

const maxInet = 48 // bytes of an address in text

// appendInet appends an IPv4 or IPv6 address as MariaDB prints it: the longest run of zero words, even of one, is left out,
// and addresses that hold an IPv4 one end with it.
func appendInet(dst, p []byte) []byte {
	if len(p) == 4 {
		return appendIPv4(dst, p)
	}
	var words [8]uint64
	gap, length := -1, 0
	for i := range words {
		words[i] = bigEndian(p[2*i : 2*i+2])
	}
	for i := 0; i < len(words); i++ {
		n := 0
		for i+n < len(words) && words[i+n] == 0 {
			n++
		}
		if n > length {
			gap, length = i, n
		}
		i += n
	}
	for i := 0; i < len(words); i++ {
		switch {
		case i == gap:
			if i == 0 {
				dst = append(dst, ':')
			}
			dst = append(dst, ':')
			i += length - 1
		case i == 6 && gap == 0 && (length == 6 || length == 5 && words[5] == 0xFFFF):
			return appendIPv4(dst, p[12:])
		default:
			dst = strconv.AppendUint(dst, words[i], 16)
			if i+1 < len(words) {
				dst = append(dst, ':')
			}
		}
	}
	return dst
}

func appendIPv4(dst, p []byte) []byte {
	for i, c := range p {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendUint(dst, uint64(c), 10)
	}
	return dst
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
