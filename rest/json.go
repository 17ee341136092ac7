package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/tailrace/tailrace/config"
)

// maxDepth bounds the nested lists and objects of a body.
const maxDepth = 32

// scalar is a configuration value: JSON numbers and booleans are taken as their text.
type scalar struct {
	text string
	null bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *scalar) UnmarshalJSON(p []byte) error {
	switch {
	case bytes.Equal(p, []byte("null")):
		s.null = true
	case p[0] == '"':
		if err := json.Unmarshal(p, &s.text); err != nil {
			return err
		}
		// encoding/json makes U+FFFD of half a surrogate pair.
		if strings.ContainsRune(s.text, utf8.RuneError) && !bytes.ContainsRune(p, utf8.RuneError) && !bytes.Contains(bytes.ToLower(p), []byte(`\ufffd`)) {
			return errors.New("a configuration value has half a surrogate pair")
		}
	case p[0] == '{' || p[0] == '[':
		return errors.New("a configuration value must be a string")
	default:
		s.text = string(p)
	}
	return nil
}

// texts returns the values of a configuration, and a problem for each null.
func texts(m map[string]scalar) (map[string]string, []config.Problem) {
	out := make(map[string]string, len(m))
	var problems []config.Problem
	for k, v := range m {
		if v.null {
			problems = append(problems, config.Problem{Key: k, Message: nullValue})
		}
		out[k] = v.text
	}
	return out, problems
}

// checkObject refuses what encoding/json would pass over in silence: a member that is there twice, text after the end,
// deep nesting, text that is not UTF-8, and anything but an object.
func checkObject(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return errors.New("it is not an object")
	}
	stack := nesting{{members: map[string]bool{}, name: true}}
	for len(stack) > 0 {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			stack, err = stack.token(tok)
		}
		if err != nil {
			return err
		}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

// nesting is what is open at one place of a JSON text.
type nesting []struct {
	members map[string]bool // nil: a list
	name    bool            // the next token is a member's name
}

// token returns the nesting after the next token.
func (n nesting) token(tok json.Token) (nesting, error) {
	top := &n[len(n)-1]
	switch {
	case tok == json.Delim('}') || tok == json.Delim(']'):
		return n[:len(n)-1], nil
	case top.name:
		name, _ := tok.(string) // the decoder takes nothing else there
		if top.members[name] {
			return n, fmt.Errorf("the member %s is there twice", quoted(name))
		}
		top.members[name], top.name = true, false
		return n, nil
	}
	top.name = top.members != nil
	if tok != json.Delim('{') && tok != json.Delim('[') {
		return n, nil
	}
	if len(n) == maxDepth {
		return n, fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	}
	n = append(n, nesting{{}}...)
	if tok == json.Delim('{') {
		n[len(n)-1].members, n[len(n)-1].name = map[string]bool{}, true
	}
	return n, nil
}
