package mysql

import (
	"math"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// The command that asks for a dump from a place has 32 bits for it, and the server cuts off the rest without a word. A file is larger
// than that where a transaction is. A place that the command can't name is reached from the beginning of its file: what ends there or
// before is passed over.

// farthest is the last place in a file that a dump can be asked for.
const farthest = math.MaxUint32

// passage is the way to a place from the beginning of its file.
type passage struct{ to uint64 }

// ask returns the place to ask a dump for that is to begin at pos, and what to pass over. It reads the whole file up to pos.
func (s *Source) ask(pos uint64) (at uint32, p passage) {
	if pos <= s.farthest {
		return uint32(pos), passage{}
	}
	return firstEvent, passage{pos}
}

// over reports whether an event that begins at the place at is to be passed over, and where it ends. The events that say how to read
// others are not.
func (p *passage) over(event []byte, at uint64) (passed bool, end uint64, err error) {
	if p.to == 0 {
		return false, at, nil
	}
	h, err := binlog.ParseHeader(event)
	switch {
	case err != nil:
		return false, at, err
	case h.Type == binlog.TypeHeartbeat, h.Type == binlog.TypeHeartbeatV2:
		return true, at, nil
	case h.Flags&binlog.FlagArtificial != 0, h.Type == binlog.TypeFormat:
		return false, at, nil
	case at == p.to:
		p.to = 0
		return false, at, nil
	}
	if end = endOf(at, &h); end > p.to {
		return false, at, fault.Permanentf("POSITION_INVALID", positionRemedy, "the stored position is %d, and the event of the binary log that begins at %d ends at %d", p.to, at, end)
	}
	return true, end, nil
}
