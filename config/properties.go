package config

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
)

// parseProperties reads a Java properties file in UTF-8: key=value, key: value or key value, comments after # or !,
// lines continued by a backslash, and the escapes \t \n \r \f \uXXXX. Errors do not quote the file.
func parseProperties(content []byte) (map[string]string, error) {
	props := map[string]string{}
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(content)), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		first := i + 1
		for continued(line) {
			line = line[:len(line)-1]
			if i++; i == len(lines) {
				break
			}
			line += strings.TrimLeft(lines[i], " \t\f")
		}
		end := keyEnd(line)
		value := strings.TrimLeft(line[end:], " \t\f")
		if value != "" && (value[0] == '=' || value[0] == ':') {
			value = strings.TrimLeft(value[1:], " \t\f")
		}
		key, ok := unescapeProperty(line[:end])
		text, ok2 := unescapeProperty(value)
		if !ok || !ok2 {
			return nil, errors.New("line " + strconv.Itoa(first) + " has a malformed \\u escape")
		}
		props[key] = text
	}
	return props, nil
}

// continued reports whether line ends with an odd number of backslashes.
func continued(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

func keyEnd(line string) int {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '=', ':', ' ', '\t', '\f':
			return i
		}
	}
	return len(line)
}

func unescapeProperty(s string) (string, bool) {
	if !strings.Contains(s, `\`) {
		return s, true
	}
	var out strings.Builder
	var units []uint16 // of \u escapes in a row: two may be a surrogate pair
	flush := func() {
		out.WriteString(string(utf16.Decode(units)))
		units = units[:0]
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			flush()
			out.WriteByte(s[i])
			continue
		}
		i++
		if s[i] == 'u' {
			if i+4 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", false
			}
			units = append(units, uint16(n))
			i += 4
			continue
		}
		flush()
		if j := strings.IndexByte("tnrf", s[i]); j >= 0 {
			out.WriteByte("\t\n\r\f"[j])
		} else {
			out.WriteByte(s[i])
		}
	}
	flush()
	return out.String(), true
}
