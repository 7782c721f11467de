package control

import (
	"encoding/base64"
	"encoding/json"

	"dongthanh/internal/zone"
)

// room is what the list in a message may take: MaxMessage without the names around it.
const room = MaxMessage - 256

// SplitChanges cuts c into parts that each fit in a message. If c is full, only the first part is: it starts anew, the
// others add. One member of each zone goes into the front, so that the reader, who acts on each part as it comes, does
// not lose interest in a zone between two of them.
func SplitChanges(c Changes) []Changes {
	members := c.Members
	if c.Full {
		members = zonesFirst(members)
	}
	var parts []Changes
	for _, part := range split(members, func(m Member) int {
		text, err := json.Marshal(m)
		if err != nil {
			return 0 // a struct of strings and numbers always encodes
		}
		return len(text) + 1
	}) {
		parts = append(parts, Changes{Full: c.Full && parts == nil, Members: part})
	}
	if parts == nil && c.Full {
		parts = []Changes{{Full: true, Members: []Member{}}}
	}
	return parts
}

// SplitReports cuts reports into parts that each fit in a message.
func SplitReports(reports [][]byte) []Reports {
	var parts []Reports
	for _, part := range split(reports, func(b []byte) int { return base64.StdEncoding.EncodedLen(len(b)) + 3 }) {
		parts = append(parts, Reports{Reports: part})
	}
	return parts
}

// split cuts a list so that the sizes of each part sum up to at most room; one item larger than that stays alone.
func split[T any](list []T, size func(T) int) [][]T {
	var parts [][]T
	start, sum := 0, 0
	for i, x := range list {
		n := size(x)
		if i > start && sum+n > room {
			parts = append(parts, list[start:i:i])
			start, sum = i, 0
		}
		sum += n
	}
	if start < len(list) {
		parts = append(parts, list[start:])
	}
	return parts
}

// zonesFirst puts the first member that is there and active of each zone in front, and keeps the order otherwise.
func zonesFirst(members []Member) []Member {
	seen := make(map[zone.Zone]bool)
	front := make([]Member, 0, len(members))
	var rest []Member
	for _, m := range members {
		if !m.Gone && !m.Standby && !seen[m.Zone] {
			seen[m.Zone] = true
			front = append(front, m)
		} else {
			rest = append(rest, m)
		}
	}
	return append(front, rest...)
}
