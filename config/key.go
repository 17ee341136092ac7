package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// A Key describes one property of a plugin.
type Key struct {
	Name     string
	Type     string // Kafka Connect's: STRING, INT, LONG, DOUBLE, BOOLEAN, LIST, PASSWORD, CLASS
	Default  string
	Required bool
	OneOf    []string // the values it may take, if they are few
	Doc      string
}

// A Problem is one mistake in a configuration: which property, what is wrong, what to do.
type Problem struct {
	Key     string
	Message string // never contains the value of a password
	Note    bool   // worth knowing, but nothing that keeps the connector from working
}

// String returns "key: message".
func (p Problem) String() string { return p.Key + ": " + p.Message }

// Password is a value that no format verb, logger or encoder shows. (Invariant 9)
type Password string

// String, GoString and MarshalText hide the password.
func (Password) String() string               { return "[hidden]" }
func (Password) GoString() string             { return "[hidden]" }
func (Password) MarshalText() ([]byte, error) { return []byte("[hidden]"), nil }

// Reveal returns the password itself.
func (p Password) Reveal() string { return string(p) }

// Keys returns the properties that a typed configuration declares. cfg is a pointer to a struct; a field becomes a
// property by its tag `cfg:"slot.name"`, with the optional tags default:"..", required:"true", oneof:"a,b", min:"1",
// max:"9" and doc:"..". Embedded structs are flattened. Field types: string, Password, bool, int, int64, float64,
// time.Duration (a number of milliseconds), []string (comma-separated), and any encoding.TextUnmarshaler.
func Keys(cfg any) []Key {
	var keys []Key
	walk(reflect.ValueOf(cfg).Elem(), func(f reflect.StructField, _ reflect.Value) {
		k := Key{Name: f.Tag.Get("cfg"), Type: connectType(f.Type), Default: f.Tag.Get("default"),
			Required: f.Tag.Get("required") == "true", Doc: f.Tag.Get("doc")}
		if o := f.Tag.Get("oneof"); o != "" {
			k.OneOf = strings.Split(o, ",")
		}
		keys = append(keys, k)
	})
	return keys
}

// Decode fills cfg, a pointer to a struct as described at Keys, from props and returns every mistake. Properties that
// no field declares are left alone. A value with an unresolved placeholder is set if the field is a string or a
// Password and otherwise replaced by the default, so that a configuration can be checked before its secrets are read.
func Decode(props map[string]string, cfg any) []Problem {
	var problems []Problem
	walk(reflect.ValueOf(cfg).Elem(), func(f reflect.StructField, v reflect.Value) {
		name := f.Tag.Get("cfg")
		text, ok := props[name]
		if !ok && f.Tag.Get("required") == "true" {
			problems = append(problems, Problem{Key: name, Message: "is required and has no default"})
			return
		}
		if !ok || (HasPlaceholder(text) && v.Kind() != reflect.String) {
			text = f.Tag.Get("default")
			if text == "" && v.Kind() != reflect.String {
				return
			}
		}
		if err := set(v, f, text); err != nil {
			problems = append(problems, Problem{Key: name, Message: err.Error()})
		}
	})
	return problems
}

func walk(v reflect.Value, visit func(reflect.StructField, reflect.Value)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct && f.Tag.Get("cfg") == "" {
			walk(v.Field(i), visit)
		} else if f.Tag.Get("cfg") != "" {
			visit(f, v.Field(i))
		}
	}
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	passwordType = reflect.TypeFor[Password]()
	patternsType = reflect.TypeFor[Patterns]()
)

func connectType(t reflect.Type) string {
	switch {
	case t == passwordType:
		return "PASSWORD"
	case t == durationType:
		return "LONG"
	case t == patternsType:
		return "LIST"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "BOOLEAN"
	case reflect.Int:
		return "INT"
	case reflect.Int64:
		return "LONG"
	case reflect.Float64:
		return "DOUBLE"
	case reflect.Slice:
		return "LIST"
	}
	return "STRING"
}

func set(v reflect.Value, f reflect.StructField, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	text = strings.TrimSpace(text)
	if o := f.Tag.Get("oneof"); o != "" && !HasPlaceholder(text) {
		allowed := strings.Split(o, ",")
		i := index(allowed, text)
		if i < 0 {
			return fmt.Errorf("%q is not one of %s%s", text, strings.Join(allowed, ", "), didYouMean(text, allowed))
		}
		text = allowed[i]
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "true":
			v.SetBool(true)
		case "false":
			v.SetBool(false)
		default:
			return fmt.Errorf("%q is not true or false", text)
		}
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		if err := inRange(float64(n), f); err != nil {
			return err
		}
		if v.Type() == durationType {
			if n > int64(1<<63-1)/int64(time.Millisecond) || n < -int64(1<<63-1)/int64(time.Millisecond) {
				return fmt.Errorf("%s milliseconds are too many", text)
			}
			n *= int64(time.Millisecond)
		}
		v.SetInt(n)
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		if err := inRange(n, f); err != nil {
			return err
		}
		v.SetFloat(n)
	case reflect.Slice:
		var list []string
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		v.Set(reflect.ValueOf(list))
	default:
		return fmt.Errorf("config: field type %s is not supported", v.Type())
	}
	return nil
}

func inRange(n float64, f reflect.StructField) error {
	if lo := f.Tag.Get("min"); lo != "" {
		if m, err := strconv.ParseFloat(lo, 64); err == nil && n < m {
			return fmt.Errorf("must be at least %s", lo)
		}
	}
	if hi := f.Tag.Get("max"); hi != "" {
		if m, err := strconv.ParseFloat(hi, 64); err == nil && n > m {
			return fmt.Errorf("must be at most %s", hi)
		}
	}
	return nil
}

func index(allowed []string, text string) int {
	for i, a := range allowed {
		if strings.EqualFold(a, text) {
			return i
		}
	}
	return -1
}
