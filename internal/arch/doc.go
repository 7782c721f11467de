// Package arch holds the rules of this module as tests: who may import whom, what each file must
// have, and what may stand nowhere. It has no code of its own, and nobody imports it.
//
// A rule that fails says what to do instead. To change a rule, change its table here and say in the
// commit why it was wrong; docs/adr has the decisions.
package arch
