package mysql

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

// position is where a stream stands. File and Pos are the end of the last transaction that was delivered whole, or a later
// place up to which there was nothing for us; GTIDs are the transactions up to there, empty where the server has none. Of
// the next transaction, which GTID names, Events row events and Rows rows of the one after them were delivered too. Server
// is the server's own name, for which File and Pos mean something. Members that others add are ignored.
type position struct {
	File   string `json:"file"`
	Pos    uint64 `json:"pos"`
	GTIDs  string `json:"gtids"`
	GTID   string `json:"gtid"`
	Events uint32 `json:"events"`
	Rows   uint32 `json:"rows"`
	Server string `json:"server"`
	Time   int64  `json:"ts_usec"`
	// Structures names the state of the history of structures that belongs to the position, 0: none.
	Structures int64 `json:"structures"`
	// Again are tables, as database.table, of which rows were left out and that have to be copied again.
	Again []string `json:"again"`
	// XA are the transactions that are prepared and neither committed nor rolled back.
	XA []preparedXA `json:"xa"`
}

// preparedXA is the first phase of a distributed transaction: where in the server's binary log it begins. File is empty where that
// is not known.
type preparedXA struct {
	ID   string `json:"id"` // X'676c',X'6272',1
	File string `json:"file"`
	Pos  uint64 `json:"pos"`
}

// inside reports whether the position is inside of a transaction.
func (p *position) inside() bool { return p.Events > 0 || p.Rows > 0 }

// encode writes the position as a JSON object in memory of its own.
func (p *position) encode() change.Position {
	b := make([]byte, 0, 192+len(p.GTIDs))
	b = appendString(append(b, `{"file":`...), p.File)
	b = strconv.AppendUint(append(b, `,"pos":`...), p.Pos, 10)
	b = appendString(append(b, `,"gtids":`...), p.GTIDs)
	if p.inside() {
		b = appendString(append(b, `,"gtid":`...), p.GTID)
		b = strconv.AppendUint(append(b, `,"events":`...), uint64(p.Events), 10)
		b = strconv.AppendUint(append(b, `,"rows":`...), uint64(p.Rows), 10)
	}
	b = appendString(append(b, `,"server":`...), p.Server)
	b = strconv.AppendInt(append(b, `,"ts_usec":`...), p.Time, 10)
	if p.Structures != 0 {
		b = strconv.AppendInt(append(b, `,"structures":`...), p.Structures, 10)
	}
	for i, name := range p.Again {
		b = appendString(append(b, [...]string{`,"again":[`, ","}[min(i, 1)]...), name)
	}
	if len(p.Again) > 0 {
		b = append(b, ']')
	}
	for i := range p.XA {
		x := &p.XA[i]
		b = appendString(append(append(b, [...]string{`,"xa":[`, ","}[min(i, 1)]...), `{"id":`...), x.ID)
		b = appendString(append(b, `,"file":`...), x.File)
		b = append(strconv.AppendUint(append(b, `,"pos":`...), x.Pos, 10), '}')
	}
	if len(p.XA) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendString appends text as a JSON string. Names of files and servers have no characters that JSON escapes, but may not
// be ours.
func appendString(dst []byte, text string) []byte {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		quoted, _ := json.Marshal(text) // a string always marshals
		return append(dst, quoted...)
	}
	return append(append(append(dst, '"'), text...), '"')
}

const positionRemedy = "set the connector's offsets to a position that it has shown, or reset them"

// parsePosition reads a position that encode wrote, or Debezium's own, which counts rows otherwise: it goes on at the
// transaction's beginning. An empty one gives the zero position.
func parsePosition(text change.Position) (position, error) {
	var p position
	if len(text) == 0 {
		return p, nil
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, fault.Permanentf("POSITION_INVALID", positionRemedy,
			"the stored position %.200q is not one of a MySQL or MariaDB binary log: %w", text, err)
	}
	if p.File == "" && p.GTIDs == "" {
		return p, fault.Permanentf("POSITION_INVALID", positionRemedy, "the stored position %.200q has neither file nor gtids", text)
	}
	if p.File != "" {
		if _, ok := fileNumber(p.File); !ok {
			return p, fault.Permanentf("POSITION_INVALID", positionRemedy, "the stored position names %.200q, which is no file of a binary log", p.File)
		}
	}
	return p, nil
}

// fileNumber returns the number at the end of a binary log's name, which grows from file to file: 999999 is followed by
// 1000000.
func fileNumber(file string) (uint64, bool) {
	i := strings.LastIndexByte(file, '.')
	if i < 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(file[i+1:], 10, 32)
	return n, err == nil && n < 1<<place
}

// A coordinate is a place in the binary log of one server as a number that grows: the file's number and the position in it.
// It is what events carry as Txn, where their transaction begins. Files are smaller than a terabyte.
type coordinate uint64

const place = 24 // bits of the file's number; the position has the other 40

func coordinateOf(file string, pos uint64) coordinate {
	n, _ := fileNumber(file)
	return coordinate(n<<(64-place) | pos&(1<<(64-place)-1))
}

func (p *position) coordinate() coordinate { return coordinateOf(p.File, p.Pos) }
