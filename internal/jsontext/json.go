package jsontext

// maxDepth bounds the nesting of documents that are embedded; deeper ones become strings.
const maxDepth = 512

// AppendJSON appends the JSON document p as it is, but for line breaks between its tokens, which become spaces. Text
// that is not exactly one valid document (its UTF-8 included), or nests deeper than 512 levels, is appended as a
// string: databases check their JSON columns, but a transform may have put anything there.
func AppendJSON(dst, p []byte) []byte {
	if !Valid(p) {
		return AppendString(dst, p)
	}
	n := len(dst)
	dst = append(dst, p...)
	for i := n; i < len(dst); i++ {
		if dst[i] == '\n' || dst[i] == '\r' { // in a valid document never inside a string
			dst[i] = ' '
		}
	}
	return dst
}

// Valid reports whether p is one JSON document, in valid UTF-8, with at most 512 levels.
func Valid(p []byte) bool {
	i := element(p, space(p, 0), 0)
	return i >= 0 && space(p, i) == len(p)
}

func space(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r') {
		i++
	}
	return i
}

// element returns the index after the JSON value that begins at p[i], -1 if there is none.
func element(p []byte, i, depth int) int {
	if i >= len(p) {
		return -1
	}
	switch p[i] {
	case '{':
		return members(p, i+1, '}', depth+1)
	case '[':
		return members(p, i+1, ']', depth+1)
	case '"':
		return quoted(p, i+1)
	case 't':
		return word(p, i, "true")
	case 'f':
		return word(p, i, "false")
	case 'n':
		return word(p, i, "null")
	}
	return number(p, i)
}

// members goes over the inside of an object or array up to its closing byte.
func members(p []byte, i int, end byte, depth int) int {
	if depth > maxDepth {
		return -1
	}
	i = space(p, i)
	if i < len(p) && p[i] == end {
		return i + 1
	}
	for {
		if end == '}' {
			if i >= len(p) || p[i] != '"' {
				return -1
			}
			if i = quoted(p, i+1); i < 0 {
				return -1
			}
			if i = space(p, i); i >= len(p) || p[i] != ':' {
				return -1
			}
			i = space(p, i+1)
		}
		if i = element(p, i, depth); i < 0 {
			return -1
		}
		if i = space(p, i); i >= len(p) {
			return -1
		}
		if p[i] == end {
			return i + 1
		}
		if p[i] != ',' {
			return -1
		}
		i = space(p, i+1)
	}
}

// quoted returns the index after the closing quotation mark of the string whose content begins at p[i].
func quoted(p []byte, i int) int {
	for {
		i += plain(p[i:])
		if i >= len(p) {
			return -1
		}
		switch c := p[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = escape(p, i+1); i < 0 {
				return -1
			}
		case c < 0x20:
			return -1
		default:
			n := sequence(p, i)
			if n == 0 {
				return -1
			}
			i += n
		}
	}
}

func escape(p []byte, i int) int {
	if i >= len(p) {
		return -1
	}
	switch p[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if len(p) < i+5 {
			return -1
		}
		for _, c := range p[i+1 : i+5] {
			if c|0x20 < 'a' || c|0x20 > 'f' {
				if c < '0' || c > '9' {
					return -1
				}
			}
		}
		return i + 5
	}
	return -1
}

func word(p []byte, i int, w string) int {
	if len(p)-i < len(w) || string(p[i:i+len(w)]) != w {
		return -1
	}
	return i + len(w)
}
