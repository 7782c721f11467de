package api

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.json
var openapiJSON []byte

// openapi serves the description of this API (OpenAPI 3.1); it holds nothing secret, so nobody need sign in.
func openapi(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=300")
	_, _ = w.Write(openapiJSON) // an error means that the client is gone
	return nil
}
