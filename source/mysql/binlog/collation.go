package binlog

// nopad is what MariaDB adds to the id of a collation for its variant that does not pad.
const nopad = 1024

// CharsetName returns the name of the charset that a collation id belongs to, in MySQL, MariaDB or both, as
// information_schema spells it: utf8mb3 where old servers say utf8.
func CharsetName(id uint16) (string, bool) {
	if id > nopad && id < 2*nopad {
		id -= nopad
	}
	switch {
	case id == 32, id == 64:
		return "armscii8", true
	case id == 11, id == 65:
		return "ascii", true
	case id == 1, id == 84:
		return "big5", true
	case id == 63:
		return "binary", true
	case id == 26, id == 34, id == 44, id == 66, id == 99:
		return "cp1250", true
	case id == 14, id == 23, id >= 50 && id <= 52:
		return "cp1251", true
	case id == 57, id == 67:
		return "cp1256", true
	case id == 29, id >= 58 && id <= 59:
		return "cp1257", true
	case id == 4, id == 80:
		return "cp850", true
	case id == 40, id == 81:
		return "cp852", true
	case id == 36, id == 68:
		return "cp866", true
	case id >= 95 && id <= 96:
		return "cp932", true
	case id == 3, id == 69:
		return "dec8", true
	case id >= 97 && id <= 98:
		return "eucjpms", true
	case id == 19, id == 85:
		return "euckr", true
	case id >= 248 && id <= 250:
		return "gb18030", true
	case id == 24, id == 86:
		return "gb2312", true
	case id == 28, id == 87:
		return "gbk", true
	case id >= 92 && id <= 93:
		return "geostd8", true
	case id == 25, id == 70:
		return "greek", true
	case id == 16, id == 71:
		return "hebrew", true
	case id == 6, id == 72:
		return "hp8", true
	case id == 37, id == 73:
		return "keybcs2", true
	case id == 7, id == 74:
		return "koi8r", true
	case id == 22, id == 75:
		return "koi8u", true
	case id == 5, id == 8, id == 15, id == 31, id >= 47 && id <= 49, id == 94:
		return "latin1", true
	case id == 2, id == 9, id == 21, id == 27, id == 77:
		return "latin2", true
	case id == 30, id == 78:
		return "latin5", true
	case id == 20, id >= 41 && id <= 42, id == 79:
		return "latin7", true
	case id == 38, id == 43:
		return "macce", true
	case id == 39, id == 53:
		return "macroman", true
	case id == 13, id == 88:
		return "sjis", true
	case id == 10, id == 82:
		return "swe7", true
	case id == 18, id == 89:
		return "tis620", true
	case id == 35, id == 90, id >= 128 && id <= 159, id >= 640 && id <= 642, id >= 2560 && id <= 2759:
		return "ucs2", true
	case id == 12, id == 91:
		return "ujis", true
	case id >= 54 && id <= 55, id >= 101 && id <= 124, id >= 672 && id <= 674, id >= 2816 && id <= 3015:
		return "utf16", true
	case id == 56, id == 62:
		return "utf16le", true
	case id >= 60 && id <= 61, id >= 160 && id <= 183, id >= 736 && id <= 738, id >= 3072 && id <= 3271:
		return "utf32", true
	case id == 33, id == 76, id == 83, id >= 192 && id <= 223, id >= 576 && id <= 578, id >= 2048 && id <= 2247:
		return "utf8mb3", true
	case id >= 45 && id <= 46, id >= 224 && id <= 247, id >= 255 && id <= 323, id >= 608 && id <= 610,
		id >= 2304 && id <= 2503:
		return "utf8mb4", true
	}
	return "", false
}
