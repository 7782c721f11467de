// Package testkit is for tests only: what several packages' tests need, and the tests that hold whole formats to
// other people's programs. No program imports it.
package testkit
