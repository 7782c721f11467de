// Package zone names places of the administrative tree: a province, a commune, a hamlet, each with all beneath it.
// It is pure and holds no list of zones.
package zone

import (
	"fmt"
	"slices"
	"strings"
)

// Zone is a node of the administrative tree, named by the codes from the top joined with "/": "31/11296/02". The
// empty zone is the root: the whole country.
type Zone string

// Limits of a zone's name; they bound certificates and datagrams that carry zones.
const (
	MaxDepth  = 8
	MaxLength = 64
	maxCode   = 16
)

// Parse checks s and returns it as a Zone. Codes are 1 to 16 of A–Z a–z 0–9 - and _.
func Parse(s string) (Zone, error) {
	if s == "" {
		return "", nil
	}
	if len(s) > MaxLength {
		return "", fmt.Errorf("zone of %d bytes, want at most %d", len(s), MaxLength)
	}
	codes := strings.Split(s, "/")
	if len(codes) > MaxDepth {
		return "", fmt.Errorf("zone %q is %d levels deep, want at most %d", s, len(codes), MaxDepth)
	}
	for _, c := range codes {
		if c == "" || len(c) > maxCode || strings.Trim(c, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_") != "" {
			return "", fmt.Errorf("zone %q: code %q is not 1 to %d letters, digits, - or _", s, c, maxCode)
		}
	}
	return Zone(s), nil
}

// Contains reports whether w is z or lies beneath it.
func (z Zone) Contains(w Zone) bool {
	return z == "" || z == w || (len(w) > len(z) && w[len(z)] == '/' && w[:len(z)] == z)
}

// Overlaps reports whether one of the two contains the other.
func (z Zone) Overlaps(w Zone) bool { return z.Contains(w) || w.Contains(z) }

// Level is the depth beneath the root: 0 the root, 1 a province, 2 a commune, 3 a hamlet.
func (z Zone) Level() int {
	if z == "" {
		return 0
	}
	return 1 + strings.Count(string(z), "/")
}

// Parent returns the zone above z; the root is its own parent.
func (z Zone) Parent() Zone {
	i := strings.LastIndexByte(string(z), '/')
	if i < 0 {
		return ""
	}
	return z[:i]
}

// Chain returns z and every zone above it, the root first.
func (z Zone) Chain() []Zone {
	chain := []Zone{z}
	for z != "" {
		z = z.Parent()
		chain = append(chain, z)
	}
	slices.Reverse(chain)
	return chain
}

// Common returns the deepest zone that contains all of zones: the key zone of a session aimed at them.
func Common(zones []Zone) Zone {
	if len(zones) == 0 {
		return ""
	}
	c := zones[0]
	for _, z := range zones[1:] {
		for !c.Contains(z) {
			c = c.Parent()
		}
	}
	return c
}

// AnyContains reports whether one of zones contains w.
func AnyContains(zones []Zone, w Zone) bool {
	return slices.ContainsFunc(zones, func(z Zone) bool { return z.Contains(w) })
}
