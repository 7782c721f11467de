package playout

// result is what became of one frame.
type result uint8

const (
	none      result = iota
	played           // sounded
	repaired         // sounded, but its packet had been asked for
	late             // came after its instant
	missing          // its instant is past and it has not come: concealed or late, it is not known yet
	skipped          // not ours to sound: outranked or muted, counted nowhere
	concealed        // never came
)

// Counts are totals of frames of 20 ms, each counted once (INTERFACES §7).
type Counts struct {
	Played, Repaired, Concealed, Late uint64
}

// Total is the number of frames of programme so far.
func (c Counts) Total() uint64 { return c.Played + c.Repaired + c.Concealed + c.Late }

func (c *Counts) add(r result) {
	switch r {
	case played:
		c.Played++
	case repaired:
		c.Repaired++
	case late:
		c.Late++
	case concealed:
		c.Concealed++
	}
}

// ledgerFrames is how many frames wait for their result at most: 10 s, twice what a transmission may be silent.
const ledgerFrames = 512

// ledger gives each frame of a programme exactly one result. Frames are numbered from the transmission's first.
// A frame that has not come when it is due stays open for a while, since it may still come late; and it counts only
// once it is known to have been sent at all.
type ledger struct {
	state   [ledgerFrames]result // of the frames settled…next−1
	settled int64                // frames below have their result
	next    int64                // the next frame to be due
	counts  Counts
	total   *Counts // of all transmissions, for the metrics
}

// begin sets where the programme starts for this loudspeaker.
func (l *ledger) begin(f int64) { l.settled, l.next = f, f }

// add gives the next frame its result. known is how many frames are known to exist.
func (l *ledger) add(r result, known int64) {
	if l.next-l.settled == ledgerFrames {
		l.settle(l.settled+1, known, true)
	}
	l.state[l.next%ledgerFrames] = r
	l.next++
	l.count(r)
}

func (l *ledger) count(r result) {
	l.counts.add(r)
	l.total.add(r)
}

// came records that frame f, which is no longer to be played, has come; it counts as late if it was missing.
func (l *ledger) came(f int64) {
	if f < l.settled || f >= l.next || l.state[f%ledgerFrames] != missing {
		return
	}
	l.state[f%ledgerFrames] = late
	l.count(late)
}

// settle gives up the frames below before that have not come: those known to exist are counted as concealed. A frame
// that may never have been sent is waited for, unless force says that nothing more can be learned.
func (l *ledger) settle(before, known int64, force bool) {
	for l.settled < min(before, l.next) {
		if l.state[l.settled%ledgerFrames] == missing {
			switch {
			case l.settled < known:
				l.count(concealed)
			case !force:
				return
			}
		}
		l.settled++
	}
}
