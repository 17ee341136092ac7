//go:build invariants

package change

// poisonBytes and poisonValues make use after Reset visible (Invariant 6).
func poisonBytes(p []byte) {
	for i := range p {
		p[i] = 0xCC
	}
}

func poisonValues(p []Value) {
	for i := range p {
		p[i] = Value{Kind: 0xCC, Num: 0xCCCCCCCCCCCCCCCC}
	}
}
