// posix DIRECTORY: go-fuse's tests of what POSIX asks of a file system, on DIRECTORY.
package main

import (
	"os"
	"sort"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

func main() {
	directory := os.Args[1]
	os.Args = []string{os.Args[0], "-test.v"}
	names := []string{}
	for name := range posixtest.All {
		names = append(names, name)
	}
	sort.Strings(names)
	tests := []testing.InternalTest{}
	for _, name := range names {
		test := posixtest.All[name]
		tests = append(tests, testing.InternalTest{Name: name, F: func(t *testing.T) {
			place, err := os.MkdirTemp(directory, "posix")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(place)
			test(t, place)
		}})
	}
	all := func(pattern, name string) (bool, error) { return true, nil }
	testing.Main(all, tests, nil, nil)
}
