// An application as people write them, in a pod beside nginx: PORT. Its requests cost what they cost in net/http, and
// /list a list that is made JSON for each.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

type order struct {
	ID       int       `json:"id"`
	Customer string    `json:"customer"`
	Items    []string  `json:"items"`
	Total    float64   `json:"total"`
	Placed   time.Time `json:"placed"`
}

func orders(count int) []order {
	all := make([]order, count)
	for i := range all {
		all[i] = order{
			ID:       i,
			Customer: fmt.Sprintf("customer %d", i),
			Items:    []string{"bread", "butter", "jam"},
			Total:    float64(i) * 1.25,
			Placed:   time.Unix(int64(i)*3600, 0).UTC(),
		}
	}
	return all
}

func main() {
	small := []byte(strings.Repeat("x", 64))
	all := orders(100)
	http.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(small)
	})
	http.HandleFunc("/list", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(all)
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe(":"+os.Args[1], nil))
	os.Exit(1)
}
