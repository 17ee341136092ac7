package config

import (
	"regexp"
	"strings"
)

// Hidden stands for a secret where a configuration is shown.
const Hidden = "[hidden]"

// IsSecretName reports whether a property of this name most likely holds a secret: passwords, passphrases, tokens,
// secrets, credentials, salts and keys to an API.
func IsSecretName(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"password", "passwd", "passphrase", "secret", "credential", "jaas", "apikey"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '.' || r == '_' || r == '-' })
	for i, p := range parts {
		switch {
		case len(p) > 5 && (distance(p, "password", 3) < 3 || distance(p, "secret", 2) < 2): // misspelled
			return true
		case p == "token" || p == "salt" && i == len(parts)-1:
			return true
		case p == "key" && i > 0 && (parts[i-1] == "api" || parts[i-1] == "access" || parts[i-1] == "private"):
			return true
		}
	}
	return false
}

// Redact returns a copy of props for display in which secrets are hidden: the values of keys of type PASSWORD, of
// properties whose name says so, and passwords inside URLs. Placeholders stay, but for their default values.
// (Invariant 9)
func Redact(props map[string]string, keys []Key) map[string]string {
	secret := map[string]bool{}
	for _, k := range keys {
		secret[k.Name] = k.Type == "PASSWORD"
	}
	url := regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^/?#\s:@,]*):([^/?#\s@,]+)@`)
	out := make(map[string]string, len(props))
	for k, v := range props {
		switch {
		case secret[k] || IsSecretName(k):
			out[k] = hide(v)
		case strings.Contains(v, "://"):
			out[k] = url.ReplaceAllStringFunc(v, func(m string) string {
				parts := url.FindStringSubmatch(m)
				return parts[1] + ":" + hide(parts[2]) + "@"
			})
		default:
			out[k] = v
		}
	}
	return out
}

// hide replaces everything of a secret but its placeholders.
func hide(text string) string {
	if text == "" {
		return ""
	}
	var out strings.Builder
	literal := false
	for text != "" {
		kind, piece, rest := nextPiece(text)
		text = rest
		if kind != placeholderPiece {
			literal = true
			continue
		}
		if i := strings.Index(piece, ":-"); i >= 0 && i+2 < len(piece)-1 {
			piece = piece[:i+2] + Hidden + "}"
		}
		out.WriteString(piece)
	}
	if literal {
		return Hidden
	}
	return out.String()
}
