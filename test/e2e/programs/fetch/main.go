// fetch URL: a static Go program with Go's own resolver; prints the status, the addresses of the URL's host, and the body.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
)

func fetch(address string) error {
	parsed, err := url.Parse(address)
	if err != nil {
		return err
	}
	addresses, err := net.LookupHost(parsed.Hostname())
	if err != nil {
		return err
	}
	response, err := http.Get(address)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	fmt.Println(response.StatusCode, addresses, string(body))
	return err
}

func main() {
	if err := fetch(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
