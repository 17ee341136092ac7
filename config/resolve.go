package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Providers is where the values of placeholders come from. A daemon's are
// Providers{Env: os.LookupEnv, ReadFile: SecretFiles(roots...)}.
type Providers struct {
	// Env looks up an environment variable. nil: none is set.
	Env func(name string) (string, bool)
	// ReadFile returns the content of a file, or an error that says nothing of the content. nil: no files are read.
	// [SecretFiles] makes one that is safe.
	ReadFile func(path string) ([]byte, error)
}

// Resolve returns a copy of props with the placeholders replaced, and a problem for each that can't be:
//
//	${env:NAME}              the environment variable; it must be set
//	${env:NAME:-default}     default, if it is not set or empty
//	${env:NAME:?message}     a problem with this message, if it is not set or empty
//	${file:/path:key}        the value of key in a Java properties file
//	${file:/path}            the whole file, without line breaks at its end
//	${dir:/path:name}        the file name in the directory, likewise; also ${directory:/path:name}
//	$${env:NAME}             the text ${env:NAME} itself
//
// Everything else, as ${routedByValue} and $1, is left as it is, and so is what a placeholder gave: there is no second
// round. A property with a problem keeps its text. The result holds secrets: never show or log it. No problem contains
// a value. (Invariant 9)
func Resolve(props map[string]string, p Providers) (map[string]string, []Problem) {
	out := make(map[string]string, len(props))
	var problems []Problem
	for _, key := range slices.Sorted(maps.Keys(props)) {
		value, err := p.resolve(props[key])
		if err != nil {
			problems = append(problems, Problem{Key: key, Message: err.Error()})
			value = props[key]
		}
		out[key] = value
	}
	return out, problems
}

func (p Providers) resolve(text string) (string, error) {
	var out strings.Builder
	for text != "" {
		kind, piece, rest := nextPiece(text)
		switch kind {
		case placeholderPiece:
			value, err := p.lookup(piece)
			if err != nil {
				return "", err
			}
			out.WriteString(value)
		case openPiece:
			return "", errors.New("a placeholder has no closing brace: " + strings.SplitN(piece, ":", 2)[0] + ":...")
		case escapedPiece:
			out.WriteString(piece[1:])
		default:
			out.WriteString(piece)
		}
		text = rest
	}
	return out.String(), nil
}

// lookup returns the value of one placeholder, "${provider:argument}".
func (p Providers) lookup(placeholder string) (string, error) {
	provider, arg, _ := strings.Cut(placeholder[2:len(placeholder)-1], ":")
	switch provider {
	case "env":
		return p.env(arg)
	case "file":
		i := strings.LastIndexByte(arg, ':')
		if i < 0 {
			content, err := p.read(arg)
			return string(bytes.TrimRight(content, "\r\n")), err
		}
		return p.property(arg[:i], arg[i+1:])
	default: // dir, directory
		i := strings.LastIndexByte(arg, ':')
		if i < 0 {
			return "", fmt.Errorf("%s lacks the file's name: write ${%s:/path:name}", placeholder, provider)
		}
		name := arg[i+1:]
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`) {
			return "", fmt.Errorf("%s: %q is not the name of a file in the directory", placeholder, name)
		}
		content, err := p.read(strings.TrimRight(arg[:i], "/") + "/" + name)
		return string(bytes.TrimRight(content, "\r\n")), err
	}
}

func (p Providers) env(arg string) (string, error) {
	name, rest, has := strings.Cut(arg, ":")
	if !isEnvName(name) {
		return "", fmt.Errorf("%q is not a name of an environment variable", name)
	}
	value, set := "", false
	if p.Env != nil {
		value, set = p.Env(name)
	}
	switch {
	case !has && set:
		return value, nil
	case !has:
		return "", fmt.Errorf("environment variable %s is not set", name)
	case strings.HasPrefix(rest, "-"):
		if strings.Contains(rest, "${") {
			return "", fmt.Errorf("the default of environment variable %s can't contain a placeholder", name)
		}
		return cmp.Or(value, rest[1:]), nil
	case strings.HasPrefix(rest, "?") && value != "":
		return value, nil
	case strings.HasPrefix(rest, "?"):
		return "", fmt.Errorf("environment variable %s is not set: %s", name, cmp.Or(rest[1:], "it is required"))
	}
	return "", fmt.Errorf("after ${env:%s: only -default or ?message can follow", name)
}

func isEnvName(name string) bool {
	for i := range len(name) {
		c := name[i] | 0x20
		if name[i] != '_' && (c < 'a' || c > 'z') && (i == 0 || name[i] < '0' || name[i] > '9') {
			return false
		}
	}
	return name != ""
}

func (p Providers) read(path string) ([]byte, error) {
	if p.ReadFile == nil {
		return nil, errors.New("reading files is not enabled")
	}
	content, err := p.ReadFile(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("file %s: %w", path, err)
	}
	return content, nil
}

func (p Providers) property(path, key string) (string, error) {
	content, err := p.read(path)
	if err != nil {
		return "", err
	}
	props, err := parseProperties(content)
	if err != nil {
		return "", fmt.Errorf("file %s: %w", path, err)
	}
	value, ok := props[key]
	if !ok {
		return "", fmt.Errorf("file %s has no property %s", path, key) // its other keys are not shown
	}
	return value, nil
}

type pieceKind uint8

const (
	textPiece        pieceKind = iota
	placeholderPiece           // ${env:X}
	escapedPiece               // $${env:
	openPiece                  // ${env:X without an end
)

// nextPiece cuts the first piece from text, which is not empty.
func nextPiece(text string) (kind pieceKind, piece, rest string) {
	for i := 0; i < len(text); i++ {
		if text[i] != '$' {
			continue
		}
		escaped := strings.HasPrefix(text[i:], "$$")
		n := 0
		if escaped {
			n = providerPrefix(text[i+1:])
		} else {
			n = providerPrefix(text[i:])
		}
		switch {
		case n == 0:
			continue
		case i > 0:
			return textPiece, text[:i], text[i:]
		case escaped:
			return escapedPiece, text[:n+1], text[n+1:]
		}
		end := strings.IndexByte(text, '}')
		if end < 0 {
			return openPiece, text, ""
		}
		return placeholderPiece, text[:end+1], text[end+1:]
	}
	return textPiece, text, ""
}

// providerPrefix returns the length of "${env:" and its like at the start of text, 0 if there is none.
func providerPrefix(text string) int {
	for _, p := range [...]string{"${env:", "${file:", "${dir:", "${directory:"} {
		if strings.HasPrefix(text, p) {
			return len(p)
		}
	}
	return 0
}

// HasPlaceholder reports whether text contains a placeholder that [Resolve] would replace.
func HasPlaceholder(text string) bool {
	for text != "" {
		kind, _, rest := nextPiece(text)
		if kind == placeholderPiece || kind == openPiece {
			return true
		}
		text = rest
	}
	return false
}
