package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
)

// Bounds of a configuration file. They keep a hostile one from costing more than a moment.
const (
	maxFileBytes = 8 << 20
	maxDepth     = 64     // nested lists and maps
	maxEntries   = 10_000 // keys of all maps together
	maxTokens    = 500_000
	maxName      = 249 // bytes of a connector's name, Kafka's bound of a topic's
	maxMistakes  = 200 // diagnostics of one pass
)

// A File is a connectors.yaml that was read. Its diagnostics tell whether it can be used.
type File struct {
	Path       string
	Version    int    // of the file's structure: 1
	Listen     string // address of the REST API, "" if the file has none
	Log        Log
	Connectors []Connector

	lines    []string
	defaults []property
}

// Log says where the log is.
type Log struct {
	Type string // "embedded" or "kafka"; "" if the file has none
	Dir  string // data directory of the embedded log
	// Props holds the other properties, by the log's own names (bootstrap.servers, segment.bytes).
	Props map[string]string

	places map[string]place
}

// A Connector is one entry of the list, the body of POST /connectors.
type Connector struct {
	Name  string
	State string // RUNNING, PAUSED or STOPPED
	// Config is the connector's flat configuration over the file's defaults, with its name. Placeholders are as written.
	Config map[string]string

	places map[string]place // of its own properties
	at     place
}

// own returns the properties that the connector itself has in the file, without the defaults.
func (c *Connector) own() map[string]string {
	props := make(map[string]string, len(c.places))
	for k := range c.places {
		props[k] = c.Config[k]
	}
	return props
}

type place struct{ line, column int }

type property struct {
	key, value string
	at         place // of the key
	valueAt    place
	broken     bool // the value is wrong in itself and was reported
}

// Load reads the file at path and returns every mistake in its structure (at most 200), in the order of lines. The result is not nil
// even if there are errors, so that what is there can be checked further.
func Load(path string) (*File, []Diagnostic) {
	text, err := readBounded(path)
	if err != nil {
		return &File{Path: path, Version: 1}, []Diagnostic{{File: path, Message: err.Error()}}
	}
	return Parse(path, text)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			return nil, fmt.Errorf("cannot be opened: %w", pe.Err)
		}
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	return text, nil
}

// Parse is Load for a text that is in memory; path is only used in diagnostics.
func Parse(path string, text []byte) (*File, []Diagnostic) {
	l := &loader{file: &File{Path: path, Version: 1}}
	l.load(text)
	l.file.defaults = slices.DeleteFunc(l.file.defaults, func(p property) bool { return p.broken })
	SortDiagnostics(l.diags)
	return l.file, l.diags
}

// CheckName tells what is wrong with a connector's name. Any printable text up to 249 bytes will do.
func CheckName(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return errors.New("a connector needs a name")
	case len(name) > maxName:
		return fmt.Errorf("the name has %d bytes, more than %d", len(name), maxName)
	case !utf8.ValidString(name):
		return errors.New("the name is not UTF-8")
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("the name contains characters that can't be printed")
	}
	return nil
}

type loader struct {
	file  *File
	diags []Diagnostic
}

func (l *loader) load(text []byte) {
	body := l.parse(text)
	if body == nil {
		return
	}
	structure := []string{"version", "listen", "log", "defaults", "connectors"}
	seen := false
	var connectors []entry
	for _, e := range l.entries(body, "the file") {
		switch e.key {
		case "version":
			l.version(e)
		case "listen":
			l.file.Listen, _ = l.scalar(e)
		case "log":
			l.log(e)
		case "defaults":
			l.file.defaults = l.properties(e)
		case "connectors":
			seen = true
			connectors = append(connectors, e)
		default:
			l.unknown(e, structure)
		}
	}
	if !seen {
		l.add(place{1, 1}, "connectors", "is missing: the file lists no connectors")
	}
	for _, e := range connectors { // after the defaults, wherever they are in the file
		l.connectors(e)
	}
}

func (l *loader) version(e entry) {
	text, ok := l.scalar(e)
	if !ok {
		return
	}
	n, err := strconv.Atoi(text)
	if err != nil || n != 1 {
		l.add(e.valueAt, e.key, fmt.Sprintf("%q is not a version that this program reads; it reads 1", text))
		return
	}
	l.file.Version = n
}

func (l *loader) log(e entry) {
	lg := &l.file.Log
	lg.Props, lg.places = map[string]string{}, map[string]place{}
	for _, p := range l.properties(e) {
		lg.places[p.key] = p.at
		switch {
		case p.broken:
		case p.key == "type":
			lg.Type = p.value
			if types := []string{"embedded", "kafka"}; p.value != "embedded" && p.value != "kafka" {
				l.suggest(p.valueAt, "log.type", fmt.Sprintf("%q is not one of embedded, kafka", p.value), Nearest(p.value, types))
			}
		case p.key == "dir":
			lg.Dir = p.value
		case strings.Contains(p.key, "."):
			lg.Props[p.key] = p.value
		default:
			l.suggest(p.at, "log."+p.key, "unknown key", Nearest(p.key, []string{"type", "dir"}))
		}
	}
}

func (l *loader) connectors(e entry) {
	list, ok := e.node.(*ast.SequenceNode)
	if !ok {
		if e.node.Type() != ast.NullType {
			l.add(e.valueAt, "connectors", "must be a list: start each connector with a dash")
		}
		return
	}
	names := map[string]place{}
	for _, n := range list.Values {
		l.connector(n, names)
	}
}

func (l *loader) connector(n ast.Node, names map[string]place) {
	at := placeOf(n)
	if _, ok := n.(ast.MapNode); !ok {
		l.entries(n, "a connector") // says what is wrong
		return
	}
	c := Connector{State: "RUNNING", Config: map[string]string{}, places: map[string]place{}, at: at}
	nameAt, hasClass := at, false
	for _, d := range l.file.defaults {
		c.Config[d.key] = d.value
	}
	for _, e := range l.entries(n, "a connector") {
		switch e.key {
		case "name":
			c.Name, _ = l.scalar(e)
			nameAt, c.at = e.valueAt, e.at
		case "state", "initial_state":
			l.state(e, &c)
		case "config":
			for _, p := range l.properties(e) {
				c.Config[p.key], c.places[p.key] = p.value, p.at
				hasClass = hasClass || p.broken && p.key == "connector.class"
			}
		default:
			l.unknown(e, []string{"name", "state", "config"})
		}
	}
	if err := CheckName(c.Name); err != nil {
		l.add(nameAt, "name", err.Error())
	} else if first, ok := names[c.Name]; ok {
		l.add(nameAt, "name", fmt.Sprintf("a connector %q is already defined in line %d", c.Name, first.line))
	} else {
		names[c.Name] = nameAt
	}
	if own, ok := c.Config["name"]; ok && own != c.Name {
		l.add(l.file.locate(&c, "name"), "name", fmt.Sprintf("%q differs from the connector's name %q", own, c.Name))
	}
	c.Config["name"] = c.Name
	if c.Config["connector.class"] == "" && !hasClass {
		l.add(c.at, "connector.class", "is required and has no default")
	}
	l.file.Connectors = append(l.file.Connectors, c)
}

func (l *loader) state(e entry, c *Connector) {
	text, ok := l.scalar(e)
	if !ok {
		return
	}
	states := []string{"RUNNING", "PAUSED", "STOPPED"}
	i := index(states, text)
	if i < 0 {
		l.suggest(e.valueAt, e.key, fmt.Sprintf("%q is not one of %s", text, strings.Join(states, ", ")), Nearest(text, states))
		return
	}
	c.State = states[i]
}

func (l *loader) unknown(e entry, known []string) {
	hint := Nearest(e.key, known)
	message := "unknown key"
	if hint == "" {
		message += ": here can be " + strings.Join(known, ", ")
	}
	l.suggest(e.at, e.key, message, hint)
}

func (l *loader) add(at place, key, message string) { l.suggest(at, key, message, "") }

func (l *loader) suggest(at place, key, message, suggestion string) {
	if len(l.diags) >= maxMistakes {
		return
	}
	l.diags = append(l.diags, l.file.diagnostic(at, key, message, suggestion, Error))
}
