package store

import (
	"context"
	"database/sql"
	"fmt"
)

// NextFence draws the next number of a class ("normal", "priority", "emergency", …), from 1. No number is drawn twice
// for one class, across crashes and power cuts too; numbers can be skipped. It returns after the number is on the disk.
func (s *Store) NextFence(ctx context.Context, class string) (uint64, error) {
	if class == "" {
		return 0, fmt.Errorf("draw a fence: %w: empty class", ErrInvalid)
	}
	var fence uint64
	// In a transaction of its own, though it is one statement: the commit of a bare statement with RETURNING happens
	// while its rows are closed, where database/sql can lose the error.
	err := s.write(ctx, "draw a fence of class "+class, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO fences (class, value) VALUES ($1, 1)
			ON CONFLICT (class) DO UPDATE SET value = fences.value + 1 RETURNING value`, class).Scan(&fence)
	})
	if err != nil {
		return 0, err
	}
	return fence, nil
}
